package s3_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/sinkfs/sinkfs/backend"
	"github.com/sinkfs/sinkfs/backend/backendtest"
	"github.com/sinkfs/sinkfs/backend/s3"
	"github.com/sinkfs/sinkfs/internal/testserver"
)

// setEnviron gives this process the credentials of the test servers.
func setEnviron(t *testing.T) {
	t.Helper()
	for k, v := range testserver.Environ() {
		t.Setenv(k, v)
	}
}

// other is a client that knows nothing of sinkfs.
func other(url string) *awss3.Client {
	return awss3.New(awss3.Options{
		BaseEndpoint: &url, UsePathStyle: true, Region: testserver.Region,
		Credentials: credentials.NewStaticCredentialsProvider(testserver.AccessKey, testserver.SecretKey, ""),
	})
}

func makeBucket(tb testing.TB, url, bucket string) {
	tb.Helper()
	if _, err := other(url).CreateBucket(tb.Context(), &awss3.CreateBucketInput{Bucket: &bucket}); err != nil {
		tb.Fatal(err)
	}
}

func open(tb testing.TB, o s3.Options) *s3.Store {
	tb.Helper()
	o.PathStyle, o.Log = true, slog.New(slog.NewTextHandler(tb.Output(), nil))
	s, err := s3.Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// bucketName is one that no other test has.
func bucketName(t *testing.T) string {
	t.Helper()
	name := strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))
	return "b-" + name[max(0, len(name)-50):]
}

func TestStore(t *testing.T) {
	setEnviron(t)
	testserver.Each(t, func(t *testing.T, server *testserver.Server) {
		prefixes := []string{"logs/prod"}
		if server.Kind.Name == testserver.VersityGW.Name { // the faster one
			prefixes = append(prefixes, "")
		}
		for _, prefix := range prefixes {
			t.Run("prefix="+prefix, func(t *testing.T) {
				backendtest.Run(t, func(t *testing.T) backendtest.Target {
					t.Helper()
					bucket := strings.ReplaceAll(bucketName(t), "=", "-")
					makeBucket(t, server.URL, bucket)
					s := open(t, s3.Options{Bucket: bucket, Prefix: prefix, Endpoint: server.URL})
					target := target(s, server.URL, bucket, prefix)
					if server.Kind.Name == testserver.VersityGW.Name {
						target.Unlistable = "\u0001" // it does not know encoding-type
					}
					return target
				})
			})
		}
	})
}

func target(s *s3.Store, url, bucket, prefix string) backendtest.Target {
	client := other(url)
	if prefix != "" {
		prefix += "/"
	}
	return backendtest.Target{
		Store: s,
		Foreign: func(t *testing.T, k backend.Key, body []byte) {
			t.Helper()
			if _, err := client.PutObject(t.Context(), &awss3.PutObjectInput{
				Bucket: &bucket, Key: aws.String(prefix + string(k)), Body: bytes.NewReader(body),
			}); err != nil {
				t.Fatal(err)
			}
		},
		Expire: func(t *testing.T) {
			t.Helper()
			if n := backendtest.AbortAll(t, s, "d/a"); n == 0 {
				t.Error("no upload of d/a is listed")
			}
		},
	}
}

// TestServersEnforce has the probe find both servers good.
func TestServersEnforce(t *testing.T) {
	setEnviron(t)
	testserver.Each(t, func(t *testing.T, server *testserver.Server) {
		makeBucket(t, server.URL, "enforce")
		s := open(t, s3.Options{Bucket: "enforce", Endpoint: server.URL})
		for range 2 {
			if err := s.Check(t.Context()); err != nil || !s.Properties().CreateOnly {
				t.Errorf("Check = %v, CreateOnly: %v", err, s.Properties().CreateOnly)
			}
			out, err := other(server.URL).ListObjectsV2(t.Context(), &awss3.ListObjectsV2Input{Bucket: aws.String("enforce")})
			if err != nil || len(out.Contents) != 0 {
				t.Errorf("Check leaves %d objects, %v", len(out.Contents), err)
			}
			if n := backendtest.AbortAll(t, s, "_sinkfs/probe"); n != 0 {
				t.Errorf("Check leaves %d uploads", n)
			}
		}
	})
}
