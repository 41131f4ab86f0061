// Package awsplugin is the resource plugin that stands in for pulumi-aws: it
// keeps the account of AWS's control plane in a file, and lets package cloud
// run what the resources describe.
//
// It serves the resource types of schema/schema.json and no others, and aims
// to be no more lenient than AWS: a property that it cannot honour is refused.
package awsplugin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/smithy-go"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/middleware/cancel"
	presource "github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/caller"
	"immutable-infra/localcloud/internal/plugin/awsplugin/s3server"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
	"immutable-infra/localcloud/internal/state"
)

// objectStore is the S3 server.
type objectStore interface {
	// Buckets are the names of all buckets, those that were made by other means included.
	Buckets(ctx context.Context) ([]string, error)
	CreateBucket(ctx context.Context, bucket string) error
	BucketExists(ctx context.Context, bucket string) (bool, error)
	DeleteBucket(ctx context.Context, bucket string) error
	EmptyBucket(ctx context.Context, bucket string) error
	PutVersioning(ctx context.Context, bucket, status string) error
	PutOwnership(ctx context.Context, bucket, ownership string) error
	// Policy is a bucket's policy as the server has it, or empty.
	Policy(ctx context.Context, bucket string) (string, error)
	PutPolicy(ctx context.Context, bucket, document string) error
	CreateAccount(ctx context.Context, accessKeyID, secretAccessKey string) error
	DeleteAccount(ctx context.Context, accessKeyID string) error
}

type plugin struct {
	kinds map[string]*kind
	store *store.Store
	cloud cloud.Cloud
	// openObjects is called when an operation needs the S3 server, so that a
	// preview works while it is down.
	openObjects func() (objectStore, error)
	signIn      signIn
	// region is nil until the provider is configured.
	region atomic.Pointer[string]
}

func newPlugin(storePath string, c cloud.Cloud, openObjects func() (objectStore, error), who signIn) (*plugin, error) {
	types, err := schema.Load()
	if err != nil {
		return nil, err
	}
	declared := kinds()
	for token, k := range declared {
		k.Type = types[token]
		if k.Table != "" {
			k.rows = in(k.Table)
		}
	}
	return &plugin{kinds: declared, store: store.Open(storePath), cloud: c, openObjects: openObjects, signIn: who}, nil
}

// provider returns the plugin as the framework serves it.
func (pl *plugin) provider() p.Provider {
	return cancel.Wrap(p.Provider{
		CheckConfig: pl.checkConfig,
		DiffConfig:  pl.diffConfig,
		Configure:   pl.configure,
		Invoke:      pl.invoke,
		Check:       pl.check,
		Diff:        pl.diff,
		Create:      pl.create,
		Read:        pl.read,
		Update:      pl.update,
		Delete:      pl.delete,
	})
}

func (pl *plugin) lookup(urn presource.URN) (*kind, error) {
	token := string(urn.Type())
	k := pl.kinds[token]
	if k == nil {
		return nil, fmt.Errorf("localcloud does not support resource type %s; it supports %s",
			token, strings.Join(slices.Sorted(maps.Keys(pl.kinds)), ", "))
	}
	return k, nil
}

func (pl *plugin) check(_ context.Context, request p.CheckRequest) (response p.CheckResponse, err error) {
	k, err := pl.lookup(request.Urn)
	if err == nil {
		response.Inputs, response.Failures = k.Check(request.Urn.Name(), request.State, request.Inputs)
	}
	return response, err
}

func (pl *plugin) diff(_ context.Context, request p.DiffRequest) (response p.DiffResponse, err error) {
	k, err := pl.lookup(request.Urn)
	if err == nil {
		response = k.Diff(request.OldInputs, request.Inputs, request.State)
	}
	return response, err
}

func (pl *plugin) create(ctx context.Context, request p.CreateRequest) (response p.CreateResponse, err error) {
	if request.DryRun {
		k, err := pl.lookup(request.Urn)
		if err == nil {
			response.Properties = k.PreviewCreate(request.Properties)
		}
		return response, err
	}
	q := question{inputs: schema.Record(request.Properties)}
	err = pl.operate(ctx, "create", request.Urn, q, false, func(op *operation, k *kind) (err error) {
		if response.ID, err = k.create(ctx, op, request.Properties); err != nil {
			return err
		}
		response.Properties, err = k.outputs(ctx, op, response.ID, request.Properties)
		return err
	})
	return response, err
}

func (pl *plugin) read(ctx context.Context, request p.ReadRequest) (response p.ReadResponse, err error) {
	q := question{id: request.ID, inputs: schema.Record(request.Inputs)}
	err = pl.operate(ctx, "read", request.Urn, q, false, func(op *operation, k *kind) error {
		properties, err := k.outputs(ctx, op, request.ID, request.Inputs)
		if errors.Is(err, errGone) {
			return nil
		}
		response = p.ReadResponse{ID: request.ID, Properties: properties, Inputs: k.Refresh(request.Inputs, properties)}
		return err
	})
	return response, err
}

func (pl *plugin) update(ctx context.Context, request p.UpdateRequest) (response p.UpdateResponse, err error) {
	q := question{id: request.ID, inputs: schema.Record(request.Inputs), old: schema.Record(request.OldInputs)}
	err = pl.operate(ctx, "update", request.Urn, q, request.DryRun, func(op *operation, k *kind) (err error) {
		if k.forbid != nil {
			changes := k.Diff(request.OldInputs, request.Inputs, request.State).DetailedDiff
			if err := k.forbid(slices.Sorted(maps.Keys(changes))); err != nil {
				return err
			}
		}
		if request.DryRun {
			response.Properties = k.PreviewUpdate(request.State, request.Inputs)
			return nil
		}
		if err := k.update(ctx, op, request.ID, request.Inputs); err != nil {
			return err
		}
		response.Properties, err = k.outputs(ctx, op, request.ID, request.Inputs)
		return err
	})
	return response, err
}

func (pl *plugin) delete(ctx context.Context, request p.DeleteRequest) error {
	q := question{id: request.ID, old: schema.Record(request.OldInputs)}
	k, err := pl.permitDelete(ctx, request.Urn, q)
	if err == nil && k.shutDown != nil {
		err = k.shutDown(ctx, pl.cloud, q.id)
	}
	if err == nil {
		err = pl.operate(ctx, "delete", request.Urn, q, false, func(op *operation, k *kind) error {
			return k.delete(ctx, op, request.ID)
		})
	}
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

// permitDelete refuses a deletion as AWS does, and returns the resource's kind.
func (pl *plugin) permitDelete(ctx context.Context, urn presource.URN, q question) (of *kind, err error) {
	err = pl.operate(ctx, "delete", urn, q, false, func(op *operation, k *kind) error {
		of = k
		_, err := k.deletable(op, q.id)
		return err
	})
	return of, err
}

// operate does something with a resource, if the caller may. A preview asks for no permission.
func (pl *plugin) operate(
	ctx context.Context, phase string, urn presource.URN, q question, preview bool, do func(op *operation, k *kind) error,
) error {
	k, err := pl.lookup(urn)
	if err != nil {
		return err
	}
	err = pl.run(ctx, func(op *operation) error {
		q.operation = op
		if !preview {
			if err := op.authorize(k.calls(phase, q)); err != nil {
				return err
			}
		}
		return do(op, k)
	})
	if err != nil {
		return fmt.Errorf("cannot %s %s: %w", phase, strings.TrimSpace(k.Token+" "+q.id), err)
	}
	return nil
}

// outputs reads a resource and shapes what the engine keeps of it.
func (k *kind) outputs(ctx context.Context, op *operation, id string, inputs property.Map) (property.Map, error) {
	r, err := k.read(ctx, op, id)
	if err != nil {
		return property.Map{}, err
	}
	return schema.MarkSecrets(k.WithAllTags(schema.Value(map[string]any(r)).AsMap()), inputs), nil
}

// version is that of the SDK that the plugin answers to.
const version = "6.83.4"

// Serve runs the plugin for the engine that started it, until the engine ends
// it. dir is localcloud's directory. The environment says who calls, as
// for the real provider: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
func Serve(ctx context.Context, dir string) error {
	given := store.Account{
		AccessKeyID: os.Getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}
	pl, err := open(dir, given)
	if err != nil {
		return err
	}
	return pl.provider().Run(ctx, "aws", version)
}

// open opens the plugin of a home for a caller with an access key.
func open(dir string, given store.Account) (*plugin, error) {
	local, err := cloud.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open the local cloud: %w", err)
	}
	// Once, so that all operations share the server's connections.
	openObjects := sync.OnceValues(func() (objectStore, error) {
		settings, err := local.S3()
		if err != nil {
			return nil, err
		}
		return s3server.New(settings)
	})
	who := func() (_, root store.Account, err error) {
		settings, err := local.S3()
		return given, store.Account{AccessKeyID: settings.AccessKeyID, SecretAccessKey: settings.SecretAccessKey}, err
	}
	return newPlugin(state.Home(dir).AWSFile(), local, openObjects, who)
}

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
	region := pl.region.Load()
	if region == nil {
		return fmt.Errorf("the aws provider is not configured")
	}
	return pl.store.Update(ctx, func(tx *store.Transaction) error {
		who, err := pl.identify(tx.State)
		if err != nil {
			return err
		}
		op := &operation{Transaction: tx, plugin: pl, cloud: pl.cloud, region: *region, caller: who}
		if err := op.removeAbandoned(ctx); err != nil {
			return err
		}
		return do(op)
	})
}

// onS3 does something at the S3 server. what names it in an error.
func (op *operation) onS3(what string, do func(server objectStore) error) error {
	server, err := op.plugin.openObjects()
	if err != nil {
		return fmt.Errorf("cannot open the S3 server: %w", err)
	}
	if err := do(server); err != nil {
		return fmt.Errorf("cannot %s: %w", what, err)
	}
	return nil
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
