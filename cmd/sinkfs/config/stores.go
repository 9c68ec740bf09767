package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/local"
	"github.com/sinkfs/sinkfs/backend/oss"
	"github.com/sinkfs/sinkfs/backend/s3"
)

// The smallest parts that S3 and OSS take.
const (
	minPartS3  = 5 << 20
	minPartOSS = 100 << 10
)

// OpenStore opens the store of the target, and makes nothing there. A store
// that this program lacks is ErrNotBuilt; the other errors are the driver's.
// Only Check goes to a store that is not local.
func OpenStore(ctx context.Context, c *Config, log *slog.Logger) (backend.Store, error) {
	return openStore(ctx, c, log, local.OpenExisting)
}

// MakeStore is OpenStore of a target that was never used: the last directory
// of a local one is made where it is missing.
func MakeStore(ctx context.Context, c *Config, log *slog.Logger) (backend.Store, error) {
	return openStore(ctx, c, log, local.Open)
}

func openStore(ctx context.Context, c *Config, log *slog.Logger, openLocal func(string, *slog.Logger) (*local.Store, error)) (backend.Store, error) {
	t, err := ParseTarget(c.Target)
	if err != nil {
		return nil, Errors{{Place: string(c.origin["target"]), Text: "target: " + err.Error()}}
	}
	switch t.Scheme {
	case "file":
		return openLocal(t.Path, log)
	case "s3":
		return s3.Open(ctx, c.Store.S3.options(t, log))
	case "oss":
		return oss.Open(ctx, c.Store.OSS.options(t, log))
	}
	return nil, fmt.Errorf("target %v: stores at %s:// are %w of sinkfs, use a local directory, s3:// or oss://", t, t.Scheme, ErrNotBuilt)
}

// TargetMissing says whether the target is a local directory that is not there.
func (c *Config) TargetMissing() bool {
	t, err := ParseTarget(c.Target)
	if err != nil || t.Scheme != "file" {
		return false
	}
	_, err = os.Stat(t.Path)
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
}

func (o S3) options(t Target, log *slog.Logger) s3.Options {
	return s3.Options{
		Bucket: t.Host, Prefix: t.Path,
		Endpoint: o.Endpoint, Region: o.Region, PathStyle: o.PathStyle,
		Profile: o.Profile, RoleARN: o.RoleARN,
		SSE: o.SSE, KMSKey: o.KMSKey, StorageClass: o.StorageClass, Tags: o.Tags, RequesterPays: o.RequesterPays,
		Proxy: o.Proxy, CAFile: o.CAFile,
		NoChecksum: o.Checksum == "none", PartSize: int64(o.PartSize), Memory: int64(o.PartMemory), Connections: o.Connections,
		Log: log,
	}
}

// completeS3 checks what a single value cannot show.
func (c *Config) completeS3(errs *Errors) {
	o, at := &c.Store.S3, "store.s3."
	c.checkURL(errs, at+"endpoint", o.Endpoint)
	c.checkURL(errs, at+"proxy", o.Proxy)
	o.CAFile = c.absolute(errs, at+"ca_file", o.CAFile)
	c.checkTags(errs, at+"tags", o.Tags)
	if o.KMSKey != "" && o.SSE != "aws:kms" && o.SSE != "aws:kms:dsse" {
		errs.at(c.origin, at+"kms_key", "only sse: aws:kms has a key, write it beside it")
	}
	if o.PartSize < minPartS3 {
		errs.at(c.origin, at+"part_size", "%v is too small, S3 takes parts from 5MiB", o.PartSize)
	}
	c.checkMemory(errs, at, o.PartSize, o.PartMemory, o.Connections)
}

func (o OSS) options(t Target, log *slog.Logger) oss.Options {
	return oss.Options{
		Bucket: t.Host, Prefix: t.Path,
		Endpoint: o.Endpoint, Region: o.Region, Internal: o.Internal, Accelerate: o.Accelerate, CNAME: o.CNAME, Signature: o.Signature,
		Profile: o.Profile, ECSRole: o.ECSRole, RoleARN: o.RoleARN,
		SSE: o.SSE, KMSKey: o.KMSKey, StorageClass: o.StorageClass, Tags: o.Tags, RequesterPays: o.RequesterPays,
		Proxy: o.Proxy, CAFile: o.CAFile,
		PartSize: int64(o.PartSize), Memory: int64(o.PartMemory), Connections: o.Connections,
		Log: log,
	}
}

// completeOSS checks what a single value cannot show. What the endpoint and
// the region say together is the driver's to judge.
func (c *Config) completeOSS(errs *Errors) {
	o, at := &c.Store.OSS, "store.oss."
	if strings.Contains(o.Endpoint, "://") {
		c.checkURL(errs, at+"endpoint", o.Endpoint)
	} else if strings.ContainsAny(o.Endpoint, "/@") {
		// The text does not repeat what may be a secret.
		errs.at(c.origin, at+"endpoint", "it is not a host or URL, write for example oss-cn-hangzhou.aliyuncs.com")
	}
	c.checkURL(errs, at+"proxy", o.Proxy)
	o.CAFile = c.absolute(errs, at+"ca_file", o.CAFile)
	c.checkTags(errs, at+"tags", o.Tags)
	if o.KMSKey != "" && o.SSE != "KMS" {
		errs.at(c.origin, at+"kms_key", "only sse: KMS has a key, write it beside it")
	}
	if o.PartSize < minPartOSS {
		errs.at(c.origin, at+"part_size", "%v is too small, OSS takes parts from 100KiB", o.PartSize)
	}
	c.checkMemory(errs, at, o.PartSize, o.PartMemory, o.Connections)
	t, err := ParseTarget(c.Target)
	if err != nil || t.Scheme != "oss" || len(*errs) > 0 {
		return
	}
	if err := oss.Check(o.options(t, nil)); err != nil {
		errs.at(c.origin, "target", "%v", err)
	}
}

func (c *Config) checkTags(errs *Errors, key, tags string) {
	if _, err := url.ParseQuery(tags); err != nil {
		errs.at(c.origin, key, "%q are no tags, write for example team=logs&env=prod", tags)
	}
}

func (c *Config) checkMemory(errs *Errors, at string, part, memory Size, connections int) {
	if memory < 2*part {
		errs.at(c.origin, at+"part_memory", "%v does not hold two parts of %v", memory, part)
	}
	if connections < 1 {
		errs.at(c.origin, at+"connections", "%d is too few, write at least 1", connections)
	}
}

func (c *Config) checkURL(errs *Errors, key, text string) {
	if text == "" {
		return
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		errs.at(c.origin, key, "it is not a URL, write for example https://store.example.com:9000")
	case u.User != nil:
		// The text does not repeat what may be a secret.
		errs.at(c.origin, key, "a user and password do not belong here, secrets come from the environment or a profile")
	}
}
