package testserver

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/cenkalti/backoff/v5"
)

// ReadOnlyKey has a running server make a key that may only read the bucket.
func (s *Server) ReadOnlyKey(ctx context.Context, bucket string) (aws.Credentials, error) {
	if s.Kind.Name == VersityGW.Name {
		return s.readOnlyUser(ctx, bucket)
	}
	client := sts.New(sts.Options{BaseEndpoint: &s.URL, Region: Region, Credentials: s})
	out, err := backoff.Retry(ctx, func() (*sts.AssumeRoleOutput, error) {
		out, err := client.AssumeRole(ctx, &sts.AssumeRoleInput{
			RoleArn: aws.String("arn:aws:iam::1:role/reader"), RoleSessionName: aws.String("reader"), Policy: aws.String(readOnly("", bucket)),
		})
		if err != nil && !strings.Contains(err.Error(), "Server not initialized") { // MinIO serves objects before it knows its keys
			err = backoff.Permanent(err)
		}
		return out, err
	}, backoff.WithMaxElapsedTime(time.Minute))
	if err != nil {
		return aws.Credentials{}, err
	}
	c := out.Credentials
	return aws.Credentials{AccessKeyID: *c.AccessKeyId, SecretAccessKey: *c.SecretAccessKey, SessionToken: *c.SessionToken}, nil
}

func (s *Server) readOnlyUser(ctx context.Context, bucket string) (aws.Credentials, error) {
	c := aws.Credentials{AccessKeyID: "reader", SecretAccessKey: "reader-secret"}
	cmd := exec.CommandContext(ctx, s.program, "admin", "--access", s.AccessKey, "--secret", s.SecretKey, "--endpoint-url", s.URL,
		"create-user", "--access", c.AccessKeyID, "--secret", c.SecretAccessKey, "--role", "user")
	if out, err := cmd.CombinedOutput(); err != nil {
		return c, fmt.Errorf("%w: %s", err, out)
	}
	client := s3.New(s3.Options{BaseEndpoint: &s.URL, UsePathStyle: true, Region: Region, Credentials: s})
	_, err := client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{
		Bucket: &bucket, Policy: aws.String(readOnly(`"Principal": {"AWS": ["reader"]},`, bucket)),
	})
	return c, err
}

// readOnly is a policy.
func readOnly(principal, bucket string) string {
	return fmt.Sprintf(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", %s
		"Action": ["s3:GetObject", "s3:ListBucket"], "Resource": ["arn:aws:s3:::%s", "arn:aws:s3:::%s/*"]}]}`, principal, bucket, bucket)
}

// Retrieve makes a server the source of its own credentials for the SDK.
func (s *Server) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey}, nil
}
