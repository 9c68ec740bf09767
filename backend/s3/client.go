package s3

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/logging"

	"github.com/sinkfs/sinkfs/backend/internal/objects"
)

// newClient puts together how the store is spoken to. Nothing is retried in
// it: each kind of call has its own rule.
func newClient(ctx context.Context, o Options, gate *objects.Gate) (*awss3.Client, *chain, error) {
	web, err := newHTTPClient(o)
	if err != nil {
		return nil, nil, err
	}
	chain := &chain{role: o.RoleARN, load: func(ctx context.Context) (aws.Config, error) {
		options := []func(*config.LoadOptions) error{config.WithHTTPClient(web), config.WithSharedConfigProfile(o.Profile), config.WithLogger(logger{o.Log})}
		if o.Region != "" {
			options = append(options, config.WithRegion(o.Region))
		}
		cfg, err := config.LoadDefaultConfig(ctx, options...)
		setDefault(&cfg.Region, defaultRegion) // STS needs one too
		return cfg, err
	}}
	cfg, err := chain.load(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the AWS configuration (profile %q): %w", o.Profile, err)
	}
	client := awss3.NewFromConfig(cfg, func(c *awss3.Options) {
		c.Credentials = chain
		c.HTTPClient = &watcher{next: web, gate: gate}
		c.Retryer = aws.NopRetryer{}
		c.Logger = logger{o.Log}
		c.HTTPSignerV4 = &signer{}
		c.UsePathStyle = o.PathStyle
		if o.Endpoint != "" {
			c.BaseEndpoint = aws.String(o.Endpoint)
		}
		c.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		c.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		// The checksum is in a signed header; a hash of the payload on top
		// would cost more than all else together.
		c.APIOptions = append(c.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	})
	return client, chain, nil
}

func newHTTPClient(o Options) (*awshttp.BuildableClient, error) {
	setup, err := objects.Network{Proxy: o.Proxy, CAFile: o.CAFile, Connections: o.Connections}.Transport()
	if err != nil {
		return nil, err
	}
	return awshttp.NewBuildableClient().WithDialerOptions(objects.Dialer).WithTransportOptions(setup), nil
}

// watcher leaves the store alone for as long as it asks, with all calls.
type watcher struct {
	next aws.HTTPClient
	gate *objects.Gate
}

// Do implements aws.HTTPClient.
func (w *watcher) Do(r *http.Request) (*http.Response, error) { return w.gate.Do(r, w.next.Do) }

// logger has the SDK say what it has to say where all else is said. Nothing
// of it is news: what matters is in the error of a call.
type logger struct{ log *slog.Logger }

// Logf implements logging.Logger.
func (l logger) Logf(_ logging.Classification, format string, args ...any) {
	l.log.Debug("the SDK says", slog.String("text", fmt.Sprintf(format, args...)))
}
