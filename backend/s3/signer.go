package s3

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
)

// signer is the SDK's, a new one for each secret: it keeps the key that it
// derived until midnight, whatever becomes of the secret of that access key.
type signer struct {
	mu     sync.Mutex
	secret string
	sdk    *v4.Signer
}

var _ awss3.HTTPSignerV4 = (*signer)(nil)

// SignHTTP implements awss3.HTTPSignerV4.
func (s *signer) SignHTTP(ctx context.Context, c aws.Credentials, r *http.Request, hash, service, region string, at time.Time, options ...func(*v4.SignerOptions)) error {
	return s.with(c.SecretAccessKey).SignHTTP(ctx, c, r, hash, service, region, at, options...)
}

func (s *signer) with(secret string) *v4.Signer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sdk == nil || s.secret != secret {
		s.secret, s.sdk = secret, v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	}
	return s.sdk
}
