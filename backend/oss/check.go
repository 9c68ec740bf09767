package oss

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

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
	overwrites        // it ignores the condition, as buckets with versions do
)

// Check lists the prefix and writes below it.
func (s *Store) Check(ctx context.Context) error {
	if _, err := s.listPage(ctx, objects.Query{Prefix: s.prefix, Limit: 1, Flat: true}); err != nil {
		return err
	}
	if s.verdict.Load() == unknown {
		return s.probe(ctx)
	}
	id, err := calls{s}.Begin(ctx, probeObject())
	if err != nil {
		return fmt.Errorf("write below %s: %w", s.url(), err)
	}
	if err := s.abort(ctx, backend.Upload{Key: backend.Probe, ID: id}); !errors.Is(err, backend.ErrGone) {
		return err
	}
	return nil // somebody tidied up
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

// noteVersions looks at an answer of the store: one that names a version is
// of a bucket that overwrites, maybe only since a moment ago.
func (s *Store) noteVersions(h http.Header) {
	if h.Get("X-Oss-Version-Id") != "" && s.verdict.Swap(overwrites) != overwrites {
		s.warnOverwrites("the bucket has versions")
	}
}

func (s *Store) warnOverwrites(why string) {
	s.log.Warn("the store overwrites objects although it is told not to: sinkfs looks before it writes, keep other writers out of the prefix",
		slog.String("target", s.url()), slog.String("reason", why))
}

func probeObject() backend.Object {
	return backend.Object{Key: backend.Probe, Size: int64(len(probeText)), Mode: 0o444}
}

// probe finds out, by an object of its own, whether the store refuses to
// overwrite. It needs no more rights than any object.
func (s *Store) probe(ctx context.Context) error {
	s.probing.Lock()
	defer s.probing.Unlock()
	if s.verdict.Load() != unknown {
		return nil
	}
	versions, refused, err := s.probePut(ctx)
	if len(versions) > 0 && versions[0] != "" {
		defer s.removeOld(ctx)
	}
	if e := s.removeProbe(ctx, versions); e != nil && err == nil {
		s.log.Info("the probe object stays, which does no harm", slog.String("key", s.full(backend.Probe)), slog.Any("error", e))
	}
	switch {
	case err != nil:
		return fmt.Errorf("write below %s: %w", s.url(), err)
	case refused:
		s.verdict.CompareAndSwap(unknown, enforces)
	case s.verdict.Swap(overwrites) != overwrites:
		s.warnOverwrites("it overwrote the probe object")
	}
	return nil
}

// removeOld removes probes that came to light beneath the newest version, those
// of processes that died.
func (s *Store) removeOld(ctx context.Context) {
	for range probeTries {
		header, err := s.call(ctx, "look for the probe", func(options []aliyun.Option) error {
			_, err := s.bucket.GetObjectDetailedMeta(s.full(backend.Probe), options...)
			return err
		})
		v := header.Get("X-Oss-Version-Id")
		if err != nil || v == "" || s.remove(ctx, backend.Probe, v) != nil {
			return
		}
	}
}

func (s *Store) removeProbe(ctx context.Context, versions []string) (err error) {
	ctx, cancel := objects.Tidy(ctx)
	defer cancel()
	for _, v := range versions {
		err = errors.Join(err, s.remove(ctx, backend.Probe, v))
	}
	return err
}

// probePut puts the probe until it is refused and returns the versions it
// made, "" of a bucket that has none.
func (s *Store) probePut(ctx context.Context) (versions []string, refused bool, err error) {
	o := probeObject()
	what := fmt.Sprintf("put %q", string(o.Key))
	for range probeTries + 1 {
		header, err := s.putOnce(ctx, what, o, &payload{body: strings.NewReader(probeText)})
		if errors.Is(err, backend.ErrExist) {
			if len(versions) == 0 {
				versions = append(versions, "") // left by somebody who died
			}
			return versions, true, nil
		}
		if err == nil && header.Get("Etag") == "" {
			err = notAnswered(what)
		}
		if err != nil {
			return versions, false, err
		}
		if v := header.Get("X-Oss-Version-Id"); v != "" || len(versions) == 0 {
			versions = append(versions, v)
		}
		if s.verdict.Load() == overwrites {
			return versions, false, nil
		}
	}
	return versions, false, nil
}
