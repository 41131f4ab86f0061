package awsplugin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"time"

	"github.com/aws/smithy-go"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// accountID is the AWS account that everything belongs to.
const accountID = caller.AccountID

// cleanUpTime bounds what is done after a failed or cancelled operation.
const cleanUpTime = time.Minute

// operation is one request of the engine, which has the store for itself.
type operation struct {
	*store.Transaction
	plugin *plugin
	cloud  cloud.Cloud
	region string
	caller caller.Caller
}

// run runs an operation on the store.
func (pl *plugin) run(ctx context.Context, do func(op *operation) error) error {
	config := pl.config.Load()
	if config == nil {
		return fmt.Errorf("the aws provider is not configured")
	}
	return pl.store.Update(ctx, func(tx *store.Transaction) error {
		who, err := pl.identify(tx.State)
		if err != nil {
			return err
		}
		op := &operation{Transaction: tx, plugin: pl, cloud: pl.cloud, region: config.Region, caller: who}
		if err := op.removeAbandoned(ctx); err != nil {
			return err
		}
		return do(op)
	})
}

// onS3 does something at the S3 server. what names it in an error.
func (op *operation) onS3(what string, do func(server objects) error) error {
	server, err := op.plugin.openObjects()
	if err != nil {
		return fmt.Errorf("cannot open the S3 server: %w", err)
	}
	if err := do(server); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	return nil
}

// s3Prefixes are the addresses of S3, the contents of its prefix list.
func (op *operation) s3Prefixes() ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	err := op.onS3("read the address of the S3 server's endpoint", func(server objects) error {
		endpoint, err := url.Parse(server.endpoint)
		if err != nil {
			return err
		}
		addr, err := netip.ParseAddr(endpoint.Hostname())
		prefixes = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
		return err
	})
	return prefixes, err
}

func (op *operation) ec2ARN(kind, id string) string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", op.region, accountID, kind, id)
}

// newID returns an id in the form of EC2's: a prefix, a dash, 17 hex digits.
func newID(prefix string) string { return prefix + "-" + randomHex(17) }

// uniqueName completes a name prefix, in the form of the Terraform provider.
func uniqueName(prefix string) string {
	return prefix + time.Now().UTC().Format("20060102150405") + randomHex(12)
}

func randomHex(digits int) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // crypto/rand ends the program rather than fail
	return hex.EncodeToString(b)[:digits]
}

// randomText returns capital letters and digits from 2 to 7, as AWS's keys have them.
func randomText(length int) string { return (rand.Text() + rand.Text())[:length] }

// apiError is an error in the form of AWS's APIs: a code that programs know,
// and a message for people.
func apiError(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// invalidParameter is the error of most APIs for a value that they do not take.
func invalidParameter(format string, args ...any) error {
	return apiError("InvalidParameterValue", format, args...)
}

// detached returns a context for cleaning up after ctx is done.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpTime)
}
