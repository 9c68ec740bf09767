// Package s3 is the driver for Amazon S3 and the stores that speak its
// protocol.
//
// A small object is one conditional PUT, a large one a multipart upload that
// is completed under the same condition. The checksum of the body goes ahead
// of it in a header, so that the store refuses what changed on the way, and
// its answer is the verification.
package s3

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Options are how a bucket is reached and what objects in it are like. Only
// Bucket is needed.
type Options struct {
	Bucket string
	Prefix string // without slashes around; "" is the whole bucket

	Endpoint  string // URL of a store that is not Amazon's
	Region    string // else that of the environment or profile, else us-east-1
	PathStyle bool   // the bucket in the path instead of the host name

	Profile string // of the shared configuration, else that of the environment
	RoleARN string // a role to assume with the credentials found

	SSE           string // AES256, aws:kms or aws:kms:dsse; else as the bucket is configured
	KMSKey        string // for aws:kms
	StorageClass  string
	Tags          string // of every object: a=b&c=d
	RequesterPays bool

	Proxy  string // URL; else that of the environment
	CAFile string // PEM certificates to trust besides the system's

	NoChecksum  bool  // for stores that do not know CRC32C
	PartSize    int64 // of multipart uploads, grows for large objects; default 8 MiB
	Memory      int64 // bound of all parts in flight together; default 48 MiB
	StageAbove  int64 // default 16 MiB
	Connections int   // at a time; default 32

	Log *slog.Logger
}

const (
	defaultRegion = "us-east-1"
	// maxKey is the longest key of S3, in bytes.
	maxKey = 1024
)

// Store is a bucket or what lies below a prefix of it.
type Store struct {
	options Options
	prefix  string // "" or with a slash at its end
	client  *awss3.Client
	chain   *chain
	gate    *objects.Gate
	log     *slog.Logger
	uploads *objects.Uploads[types.CompletedPart]
	lister  *objects.Lister

	probing sync.Mutex
	verdict atomic.Int32 // what the probe found, see check.go
	props   backend.Properties
}

var (
	_ backend.Store        = (*Store)(nil)
	_ backend.UploadLister = (*Store)(nil)
	_ backend.Grower       = (*Store)(nil)
)

// Open makes a store of a bucket. It reads configuration and credential files
// and never touches the network; Check does.
func Open(ctx context.Context, o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("s3://%s: %w", o.Bucket, err)
	}
	s := &Store{options: o, log: o.Log, gate: &objects.Gate{}}
	if o.Prefix != "" {
		s.prefix = o.Prefix + "/"
	}
	var err error
	if s.client, s.chain, err = newClient(ctx, o, s.gate); err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(), err)
	}
	s.uploads = &objects.Uploads[types.CompletedPart]{
		Calls: calls{s}, PartSize: o.PartSize, Buffers: objects.NewBuffers(o.Memory, o.PartSize), Sum: crc{}, Log: o.Log,
	}
	s.lister = &objects.Lister{Prefix: s.prefix, Read: s.listPage, Hidden: backend.Probe}
	s.props = backend.Properties{
		URL: strings.TrimSuffix("s3://"+o.Bucket+"/"+backend.Escape("s3", o.Prefix), "/"), Identity: s.url(), CreateOnly: true, StageAbove: o.StageAbove,
		MaxKey: min(maxKey-len(s.prefix), maxKey-1), Parallel: min(objects.DefaultParallel, o.Connections), Grows: true,
	}
	if o.Endpoint != "" {
		s.props.Identity += " at " + o.Endpoint
	}
	return s, nil
}

func (s *Store) url() string {
	return strings.TrimSuffix("s3://"+s.options.Bucket+"/"+s.options.Prefix, "/")
}

// Properties say what the store can do.
func (s *Store) Properties() backend.Properties {
	p := s.props
	p.CreateOnly = s.verdict.Load() != overwrites
	return p
}

// complete checks the options and fills in the defaults.
func (o *Options) complete() error {
	setDefault(&o.PartSize, objects.DefaultPartSize)
	setDefault(&o.Memory, objects.DefaultMemory)
	setDefault(&o.StageAbove, objects.DefaultStageAbove)
	setDefault(&o.Connections, objects.DefaultConnections)
	setDefault(&o.Log, slog.New(slog.DiscardHandler))
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Prefix != "" {
		if err := backend.Key(o.Prefix).Validate(maxKey / 2); err != nil {
			return fmt.Errorf("the prefix: %w", err)
		}
	}
	switch {
	case o.Bucket == "":
		return fmt.Errorf("the bucket is missing, write s3://bucket/prefix: %w", backend.ErrUnsupported)
	case o.PartSize < 1 || o.Memory < 2*o.PartSize || o.StageAbove < 0 || o.Connections < 1:
		return fmt.Errorf("parts of %d bytes in %d bytes of memory over %d connections cannot work, give memory for two parts: %w",
			o.PartSize, o.Memory, o.Connections, backend.ErrUnsupported)
	}
	if _, err := url.ParseQuery(o.Tags); err != nil {
		return fmt.Errorf("tags %q are not a=b&c=d: %w", o.Tags, backend.ErrUnsupported)
	}
	return checkURLs(o)
}

func checkURLs(o *Options) error {
	for what, text := range map[string]string{"endpoint": o.Endpoint, "proxy": o.Proxy} {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("the %s is not a URL, write for example https://store.example.com:9000: %w", what, backend.ErrUnsupported)
		}
		if u.User != nil {
			return fmt.Errorf("the %s has a user in it, secrets come from the environment or a profile: %w", what, backend.ErrUnsupported)
		}
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// full is the key in the bucket.
func (s *Store) full(k backend.Key) string { return s.prefix + string(k) }
