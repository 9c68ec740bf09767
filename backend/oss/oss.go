// Package oss is the driver for Alibaba Cloud OSS.
//
// A small object is one PUT that must not overwrite, a large one a multipart
// upload that is completed under the same condition. OSS takes no checksum
// ahead of a body, but tells the CRC64 of what it has: of each part before the
// commit, of the whole after it. It is compared with that of what was read.
package oss

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"

	aliyun "github.com/aliyun/aliyun-oss-go-sdk/oss"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// Options are how a bucket is reached and what objects in it are like. Bucket
// is needed, and Region or Endpoint.
type Options struct {
	Bucket string
	Prefix string // without slashes around; "" is the whole bucket

	Endpoint   string // host or URL; else it follows from the region
	Region     string // cn-hangzhou; else it follows from the endpoint
	Internal   bool   // the endpoint within the region's network
	Accelerate bool   // the endpoint of transfer acceleration
	CNAME      bool   // Endpoint is a domain of the bucket itself
	Signature  string // v4, the default, or v1

	Profile string // of the shared configuration files, else all places are tried
	ECSRole string // a role of this ECS instance, instead of them
	RoleARN string // a role to assume with the credentials found

	SSE           string // AES256, KMS or SM4; else as the bucket is configured
	KMSKey        string // for KMS
	StorageClass  string // Standard, IA, Archive …
	Tags          string // of every object: a=b&c=d
	RequesterPays bool

	Proxy  string // URL; else that of the environment
	CAFile string // PEM certificates to trust besides the system's

	PartSize    int64 // of multipart uploads, grows for large objects; default 8 MiB
	Memory      int64 // bound of all parts in flight together; default 48 MiB
	StageAbove  int64 // default 16 MiB
	Connections int   // at a time; default 32

	Log *slog.Logger
}

const (
	// maxKey is the longest key of OSS, in bytes.
	maxKey = 1023
)

// Store is a bucket or what lies below a prefix of it.
type Store struct {
	options Options
	prefix  string // "" or with a slash at its end
	bucket  *aliyun.Bucket
	chain   *chain
	gate    *objects.Gate
	log     *slog.Logger
	uploads *objects.Uploads[aliyun.UploadPart]
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

// Open makes a store of a bucket. It never touches the network; Check does.
func Open(_ context.Context, o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("oss://%s: %w", o.Bucket, err)
	}
	s := &Store{options: o, log: o.Log, chain: newChain(o), gate: &objects.Gate{}}
	if o.Prefix != "" {
		s.prefix = o.Prefix + "/"
	}
	var err error
	if s.bucket, err = newBucket(o, s.chain, s.gate); err != nil {
		return nil, fmt.Errorf("%s: %w", s.url(), err)
	}
	s.uploads = &objects.Uploads[aliyun.UploadPart]{
		Calls: calls{s}, PartSize: o.PartSize, Buffers: objects.NewBuffers(o.Memory, o.PartSize), Sum: crc{}, Log: o.Log,
	}
	s.lister = &objects.Lister{Prefix: s.prefix, Read: s.listPage, Hidden: backend.Probe}
	s.props = backend.Properties{
		URL: strings.TrimSuffix("oss://"+o.Bucket+"/"+backend.Escape("oss", o.Prefix), "/"), Identity: s.url(), CreateOnly: true, StageAbove: o.StageAbove,
		MaxKey: maxKey - len(s.prefix), Parallel: min(objects.DefaultParallel, o.Connections), Grows: true,
	}
	// Names of buckets are unique among all regions of Alibaba Cloud: which
	// way leads to one makes it no other place.
	if host := hostOf(o.Endpoint); !o.CNAME && !strings.HasSuffix(host, ".aliyuncs.com") {
		s.props.Identity += " at " + host
	}
	return s, nil
}

// Check says what is wrong with options before anything is opened.
func Check(o Options) error { return o.complete() }

func (s *Store) url() string {
	return strings.TrimSuffix("oss://"+s.options.Bucket+"/"+s.options.Prefix, "/")
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
	setDefault(&o.Signature, "v4")
	o.Prefix = strings.Trim(o.Prefix, "/")
	if o.Prefix != "" {
		if err := backend.Key(o.Prefix).Validate(maxKey / 2); err != nil {
			return fmt.Errorf("the prefix: %w", err)
		}
	}
	if err := aliyun.CheckBucketName(o.Bucket); err != nil {
		return fmt.Errorf("%w, write oss://bucket/prefix: %w", err, backend.ErrUnsupported)
	}
	if o.PartSize < 1 || o.Memory < 2*o.PartSize || o.StageAbove < 0 || o.Connections < 1 {
		return fmt.Errorf("parts of %d bytes in %d bytes of memory over %d connections cannot work, give memory for two parts: %w",
			o.PartSize, o.Memory, o.Connections, backend.ErrUnsupported)
	}
	if _, err := url.ParseQuery(o.Tags); err != nil {
		return fmt.Errorf("tags %q are not a=b&c=d: %w", o.Tags, backend.ErrUnsupported)
	}
	if err := o.completeEndpoint(); err != nil {
		return fmt.Errorf("%w: %w", err, backend.ErrUnsupported)
	}
	return nil
}

// regional are the endpoints that name their region.
var regional = regexp.MustCompile(`^oss-([a-z]+-[a-z0-9-]+?)(-internal)?\.aliyuncs\.com$`)

// completeEndpoint finds the endpoint by the region or the region by the
// endpoint.
func (o *Options) completeEndpoint() error {
	if err := o.chooseEndpoint(); err != nil {
		return err
	}
	if !strings.Contains(o.Endpoint, "://") {
		o.Endpoint = "https://" + o.Endpoint // the SDK would take http
	}
	o.Endpoint = strings.TrimSuffix(o.Endpoint, "/")
	if err := checkURLs(o); err != nil {
		return err
	}
	host := hostOf(o.Endpoint)
	if own, ok := strings.CutPrefix(host, o.Bucket+"."); ok && !o.CNAME {
		return fmt.Errorf("the endpoint begins with the bucket's name, write %s, or set store.oss.cname", own)
	}
	if m := regional.FindStringSubmatch(host); m != nil && o.Region == "" {
		o.Region = m[1]
	}
	switch {
	case o.Signature != "v4" && o.Signature != "v1":
		return fmt.Errorf("signature %q is not known, write v4 or v1", o.Signature)
	case o.Signature == "v4" && o.Region == "":
		return errors.New("signatures of version 4 name the region, set store.oss.region (cn-hangzhou)")
	}
	return nil
}

// chooseEndpoint sets the one that the other options mean.
func (o *Options) chooseEndpoint() error {
	switch {
	case o.Accelerate && (o.Internal || o.CNAME), o.Internal && o.CNAME:
		return errors.New("accelerate, internal and cname are different ways to the bucket, set one of them")
	case o.Endpoint != "":
		if o.Internal && !strings.Contains(o.Endpoint, "-internal.") || o.Accelerate && !strings.Contains(o.Endpoint, "accelerate") {
			return errors.New("the endpoint is not the one that internal or accelerate stands for, leave it away and set store.oss.region")
		}
	case o.CNAME:
		return errors.New("with store.oss.cname the endpoint is the bucket's own domain, write it in store.oss.endpoint")
	case o.Accelerate:
		o.Endpoint = "oss-accelerate.aliyuncs.com"
	case o.Region == "":
		return errors.New("set store.oss.region (cn-hangzhou) or store.oss.endpoint (oss-cn-hangzhou.aliyuncs.com)")
	case o.Internal:
		o.Endpoint = "oss-" + o.Region + "-internal.aliyuncs.com"
	default:
		o.Endpoint = "oss-" + o.Region + ".aliyuncs.com"
	}
	return nil
}

// checkURLs refuses what the SDK would stumble over.
func checkURLs(o *Options) error {
	for what, text := range map[string]string{"endpoint": o.Endpoint, "proxy": o.Proxy} {
		if text == "" {
			continue
		}
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
			return fmt.Errorf("the %s is no host or URL, write for example oss-cn-hangzhou.aliyuncs.com", what)
		}
		if u.User != nil {
			return fmt.Errorf("the %s has a user in it, secrets come from the environment or a profile", what)
		}
	}
	return nil
}

// hostOf is the host of a URL, without its port.
func hostOf(endpoint string) string {
	_, host, _ := strings.Cut(endpoint, "://")
	if name, _, err := net.SplitHostPort(host); err == nil && net.ParseIP(name) == nil {
		return name
	}
	return host
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// full is the key in the bucket.
func (s *Store) full(k backend.Key) string { return s.prefix + string(k) }

// valid refuses keys that no request should be made for. OSS takes no name
// that begins with a backslash.
func (s *Store) valid(k backend.Key) error {
	if err := k.Validate(s.props.MaxKey); err != nil {
		return err
	}
	if s.prefix == "" && k[0] == '\\' {
		return fmt.Errorf("key %q: names in OSS do not begin with a backslash: %w", string(k), backend.ErrKey)
	}
	return nil
}
