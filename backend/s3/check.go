package s3

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

const (
	// probeText is what the probe object says to who finds it.
	probeText = "sinkfs makes this object to learn whether the store keeps objects from being overwritten. It may be removed.\n"
	// probeTries is how often an overwritten probe is believed to be the
	// work of another host that removed its own in between.
	probeTries = 3
)

// What the probe found.
const (
	unknown    = iota // nobody could ask yet
	enforces          // the store refuses to overwrite
	overwrites        // it ignores the condition
)

// Check lists the prefix and writes below it.
func (s *Store) Check(ctx context.Context) error {
	what := "list " + s.url()
	list, err := s.client.ListObjectsV2(ctx, &awss3.ListObjectsV2Input{
		Bucket: &s.options.Bucket, Prefix: &s.prefix, MaxKeys: aws.Int32(1), RequestPayer: s.payer(),
	})
	if err != nil {
		return s.failure(ctx, what, err)
	}
	if err := isAnswer(what, list.Name); err != nil {
		return err
	}
	if s.verdict.Load() == unknown {
		return s.probe(ctx)
	}
	id, err := calls{s}.Begin(ctx, probeObject())
	if err != nil {
		return fmt.Errorf("write below %s: %w", s.url(), err)
	}
	return s.AbortUpload(ctx, backend.Upload{Key: probeObject().Key, ID: id})
}

// createOnly says whether the store can be left to refuse what exists. While
// nobody knows, it is not trusted.
func (s *Store) createOnly(ctx context.Context) bool {
	if s.verdict.Load() == unknown {
		if err := s.probe(ctx); err != nil {
			s.log.Debug("the store could not be asked whether it overwrites", slog.Any("error", err))
		}
	}
	return s.verdict.Load() == enforces
}

func probeObject() backend.Object {
	return backend.Object{Key: backend.Probe, Size: int64(len(probeText)), Mode: 0o444}
}

// probe finds out, by an object of its own, whether the store refuses to
// overwrite, in one request and at the end of an upload.
func (s *Store) probe(ctx context.Context) error {
	s.probing.Lock()
	defer s.probing.Unlock()
	if s.verdict.Load() != unknown {
		return nil
	}
	made := versions{}
	refused, err := s.probePut(ctx, made)
	if err == nil && refused {
		refused, err = s.probeUpload(ctx, made)
	}
	if e := s.removeProbe(ctx, made); e != nil && err == nil {
		s.log.Info("the probe object stays, which does no harm", slog.String("key", s.full(backend.Probe)), slog.Any("error", e))
	}
	switch {
	case err != nil:
		return fmt.Errorf("write below %s: %w", s.url(), err)
	case refused:
		s.verdict.Store(enforces)
	default:
		s.log.Warn("the store overwrites objects although it is told not to: sinkfs looks before it writes, keep other writers out of the prefix",
			slog.String("target", s.url()))
		s.verdict.Store(overwrites)
	}
	return nil
}

// versions are those that the probe made; "" where the bucket has none.
type versions map[string]bool

// removeProbe leaves no version of the probe behind, or, where the key may not
// remove versions, a mark that it is gone.
func (s *Store) removeProbe(ctx context.Context, made versions) error {
	ctx, cancel := objects.Tidy(ctx)
	defer cancel()
	if len(made) == 0 { // it is that of a process that died
		out, err := s.client.HeadObject(ctx, &awss3.HeadObjectInput{
			Bucket: &s.options.Bucket, Key: aws.String(s.full(backend.Probe)), RequestPayer: s.payer(),
		})
		if err != nil {
			out = &awss3.HeadObjectOutput{} // then whatever is seen there
		}
		made[aws.ToString(out.VersionId)] = true
	}
	for v := range made {
		err := s.remove(ctx, backend.Probe, v)
		if v != "" && errors.Is(err, backend.ErrPermission) {
			err = s.remove(ctx, backend.Probe, "")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// probePut puts the probe until it is refused.
func (s *Store) probePut(ctx context.Context, made versions) (refused bool, err error) {
	o := probeObject()
	what := fmt.Sprintf("put %q", string(o.Key))
	for range probeTries + 1 {
		in := s.putInput(o, &payload{Reader: strings.NewReader(probeText), sum: sumOfProbe()})
		out, err := s.client.PutObject(ctx, in)
		if err != nil {
			err = s.failure(ctx, what, err)
			if errors.Is(err, backend.ErrExist) || errors.Is(err, errConflict) {
				return true, nil
			}
			return false, err
		}
		if err := isAnswer(what, out.ETag); err != nil {
			return false, err
		}
		made[aws.ToString(out.VersionId)] = true
	}
	return false, nil
}

// probeUpload does the same with uploads. One that is gone was tidied up by
// somebody, which says nothing.
func (s *Store) probeUpload(ctx context.Context, made versions) (refused bool, err error) {
	for range probeTries {
		var version string
		version, err = s.probeUploadOnce(ctx)
		switch {
		case err == nil:
			made[version] = true
		case errors.Is(err, backend.ErrExist), errors.Is(err, errConflict):
			return true, nil
		case !errors.Is(err, backend.ErrGone):
			return false, err
		}
	}
	return false, err
}

// probeUploadOnce publishes the probe by an upload and returns its version.
func (s *Store) probeUploadOnce(ctx context.Context) (version string, err error) {
	o, c := probeObject(), calls{s}
	id, err := c.Begin(ctx, o)
	if err != nil {
		return "", err
	}
	u := backend.Upload{Key: o.Key, ID: id}
	part, err := c.Send(ctx, u, objects.Part{Number: 1, Of: 1, Size: o.Size, Sum: uint64(sumOfProbe()), Body: strings.NewReader(probeText)})
	if err != nil {
		s.uploads.Abandon(ctx, u)
		return "", err
	}
	f := objects.Finished[types.CompletedPart]{Object: o, Parts: []types.CompletedPart{part}, Sum: uint64(sumOfProbe())}
	what := fmt.Sprintf("commit %q", string(o.Key))
	out, err := s.client.CompleteMultipartUpload(ctx, s.completeInput(u, f))
	if err != nil {
		err = s.failure(ctx, what, err)
	} else {
		err = isAnswer(what, out.ETag)
	}
	if err != nil {
		s.uploads.Abandon(ctx, u)
		return "", err
	}
	return aws.ToString(out.VersionId), nil
}
