// Package awsplugin is the resource plugin that replaces pulumi-aws. It stores the state of AWS's control plane in
// a file, and uses package cloud to run the resources.
//
// It supports only the resource types of schema/schema.json. It is meant to be at least as strict as AWS, and
// rejects properties that it cannot implement.
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
	// Buckets returns the names of all buckets, including those that the plugin did not create.
	Buckets(ctx context.Context) ([]string, error)
	CreateBucket(ctx context.Context, bucket string) error
	BucketExists(ctx context.Context, bucket string) (bool, error)
	DeleteBucket(ctx context.Context, bucket string) error
	EmptyBucket(ctx context.Context, bucket string) error
	PutVersioning(ctx context.Context, bucket, status string) error
	PutOwnership(ctx context.Context, bucket, ownership string) error
	// Policy returns a bucket's policy at the server, or "".
	Policy(ctx context.Context, bucket string) (string, error)
	PutPolicy(ctx context.Context, bucket, document string) error
	CreateAccount(ctx context.Context, accessKeyID, secretAccessKey string) error
	DeleteAccount(ctx context.Context, accessKeyID string) error
}

type plugin struct {
	kinds map[string]*kind
	store *store.Store
	cloud cloud.Cloud
	// openObjects is called only when an operation needs the S3 server, so that a preview works while it is down.
	openObjects func() (objectStore, error)
	credentials credentialSource
	// region is nil until the provider is configured.
	region atomic.Pointer[string]
}

func newPlugin(
	storePath string, c cloud.Cloud, openObjects func() (objectStore, error), creds credentialSource,
) (*plugin, error) {
	types, err := schema.Load()
	if err != nil {
		return nil, err
	}
	declared := kinds()
	for token, k := range declared {
		k.Type = types[token]
		if k.Table != "" {
			k.rows = tableRows(k.Table)
		}
	}
	return &plugin{
		kinds: declared, store: store.Open(storePath), cloud: c, openObjects: openObjects, credentials: creds,
	}, nil
}

// provider returns the provider for the plugin framework.
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
	q := accessQuery{inputs: schema.Record(request.Properties)}
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
	q := accessQuery{id: request.ID, inputs: schema.Record(request.Inputs)}
	err = pl.operate(ctx, "read", request.Urn, q, false, func(op *operation, k *kind) error {
		properties, err := k.outputs(ctx, op, request.ID, request.Inputs)
		if errors.Is(err, errNotFound) {
			return nil
		}
		response = p.ReadResponse{ID: request.ID, Properties: properties, Inputs: k.Refresh(request.Inputs, properties)}
		return err
	})
	return response, err
}

func (pl *plugin) update(ctx context.Context, request p.UpdateRequest) (response p.UpdateResponse, err error) {
	q := accessQuery{id: request.ID, inputs: schema.Record(request.Inputs), old: schema.Record(request.OldInputs)}
	err = pl.operate(ctx, "update", request.Urn, q, request.DryRun, func(op *operation, k *kind) (err error) {
		if k.checkUpdate != nil {
			changes := k.Diff(request.OldInputs, request.Inputs, request.State).DetailedDiff
			if err := k.checkUpdate(slices.Sorted(maps.Keys(changes))); err != nil {
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
	q := accessQuery{id: request.ID, old: schema.Record(request.OldInputs)}
	k, err := pl.checkDelete(ctx, request.Urn, q)
	if err == nil && k.shutDown != nil {
		err = k.shutDown(ctx, pl.cloud, q.id)
	}
	if err == nil {
		err = pl.operate(ctx, "delete", request.Urn, q, false, func(op *operation, k *kind) error {
			return k.delete(ctx, op, request.ID)
		})
	}
	if errors.Is(err, errNotFound) {
		return nil
	}
	return err
}

// checkDelete returns the error that AWS returns if a resource cannot be deleted. It also returns the resource's
// kind.
func (pl *plugin) checkDelete(ctx context.Context, urn presource.URN, q accessQuery) (of *kind, err error) {
	err = pl.operate(ctx, "delete", urn, q, false, func(op *operation, k *kind) error {
		of = k
		_, err := k.deletable(op, q.id)
		return err
	})
	return of, err
}

// operate runs do for a resource if the caller has permission for the operation. A preview needs no permission.
func (pl *plugin) operate(
	ctx context.Context, phase string, urn presource.URN, q accessQuery, preview bool,
	do func(op *operation, k *kind) error,
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

// outputs reads a resource and returns the outputs for the engine's state.
func (k *kind) outputs(ctx context.Context, op *operation, id string, inputs property.Map) (property.Map, error) {
	r, err := k.read(ctx, op, id)
	if err != nil {
		return property.Map{}, err
	}
	return schema.MarkSecrets(k.WithAllTags(schema.Value(map[string]any(r)).AsMap()), inputs), nil
}

// version is the version of the Pulumi SDK that the plugin is compatible with.
const version = "6.83.4"

// Serve runs the plugin until the engine that started it stops it. dir is localcloud's directory. The caller's
// credentials are in the environment, as for the real provider: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
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

// open returns the plugin for localcloud's directory. given are the caller's credentials.
func open(dir string, given store.Account) (*plugin, error) {
	local, err := cloud.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the local cloud: %w", err)
	}
	// Create one client, so that all operations share its connections.
	openObjects := sync.OnceValues(func() (objectStore, error) {
		settings, err := local.S3()
		if err != nil {
			return nil, err
		}
		return s3server.New(settings)
	})
	creds := func() (_, root store.Account, err error) {
		settings, err := local.S3()
		return given, store.Account{AccessKeyID: settings.AccessKeyID, SecretAccessKey: settings.SecretAccessKey}, err
	}
	return newPlugin(state.Home(dir).AWSFile(), local, openObjects, creds)
}

// accountID is the AWS account that owns all resources.
const accountID = caller.AccountID

// cleanUpTimeout limits the cleanup after a failed or canceled operation.
const cleanUpTimeout = time.Minute

// operation is one request of the engine. It has exclusive access to the store.
type operation struct {
	*store.Transaction
	plugin *plugin
	cloud  cloud.Cloud
	region string
	caller caller.Caller
}

// run runs an operation in a transaction of the store.
func (pl *plugin) run(ctx context.Context, do func(op *operation) error) error {
	region := pl.region.Load()
	if region == nil {
		return fmt.Errorf("the aws provider is not configured")
	}
	return pl.store.Update(ctx, func(tx *store.Transaction) error {
		identified, err := pl.identify(tx.State)
		if err != nil {
			return err
		}
		op := &operation{Transaction: tx, plugin: pl, cloud: pl.cloud, region: *region, caller: identified}
		if err := op.removeAbandoned(ctx); err != nil {
			return err
		}
		return do(op)
	})
}

// onS3 runs do with the S3 server. action describes it in an error: "cannot ACTION".
func (op *operation) onS3(action string, do func(server objectStore) error) error {
	server, err := op.plugin.openObjects()
	if err != nil {
		return fmt.Errorf("cannot use the S3 server: %w", err)
	}
	if err := do(server); err != nil {
		return fmt.Errorf("cannot %s: %w", action, err)
	}
	return nil
}

func (op *operation) ec2ARN(kind, id string) string {
	return fmt.Sprintf("arn:aws:ec2:%s:%s:%s/%s", op.region, accountID, kind, id)
}

// newID returns an id in EC2's format: a prefix, a dash, 17 hex digits.
func newID(prefix string) string { return prefix + "-" + randomHex(17) }

// uniqueName returns a unique name with the given prefix, in the Terraform provider's format.
func uniqueName(prefix string) string {
	return prefix + time.Now().UTC().Format("20060102150405") + randomHex(12)
}

func randomHex(digits int) string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // crypto/rand never returns an error; it crashes the program instead
	return hex.EncodeToString(b)[:digits]
}

// randomText returns capital letters and digits from 2 to 7, like AWS access key ids.
func randomText(length int) string { return (rand.Text() + rand.Text())[:length] }

// apiError returns an AWS API error: a code for programs and a message for people.
func apiError(code, format string, args ...any) error {
	return &smithy.GenericAPIError{Code: code, Message: fmt.Sprintf(format, args...), Fault: smithy.FaultClient}
}

// invalidParameter returns the error of most AWS APIs for an invalid value.
func invalidParameter(format string, args ...any) error {
	return apiError("InvalidParameterValue", format, args...)
}

// detached returns a context for the cleanup after ctx is done.
func detached(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
}
