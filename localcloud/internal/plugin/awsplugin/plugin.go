// Package awsplugin is the resource plugin that stands in for pulumi-aws: it
// keeps the account of AWS's control plane in a file, and lets package cloud
// run what the resources describe.
//
// It serves the resource types of schema/schema.json and no others, and aims
// to be no more lenient than AWS: a property that it cannot honour is refused.
package awsplugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/middleware/cancel"
	presource "github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/schema"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

// errGone is what a resource answers that does not exist (any more).
var errGone = errors.New("the resource does not exist")

// resource is what the plugin can do with one type. The methods run alone,
// within a transaction of the store.
type resource interface {
	// create makes the resource and returns its id.
	create(ctx context.Context, op *operation, inputs property.Map) (string, error)
	// read returns the struct whose JSON form is the resource's outputs, or errGone.
	read(ctx context.Context, op *operation, id string) (any, error)
	// update changes the resource in place to what inputs say.
	update(ctx context.Context, op *operation, id string, inputs property.Map) error
	// delete deletes the resource, or returns errGone.
	delete(ctx context.Context, op *operation, id string) error
}

// updateRefuser is a resource that cannot make every change in place that AWS
// can, and says so in a preview already.
type updateRefuser interface {
	refuseUpdate(op *operation, id string, inputs property.Map) error
}

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

// objects is the S3 server with the address that instances reach it by.
type objects struct {
	objectStore
	endpoint string
}

type plugin struct {
	types     map[string]*schema.Type
	resources map[string]resource
	store     *store.Store
	cloud     cloud.Cloud
	// openObjects is called when an operation needs the S3 server, so that a
	// preview works while it is down.
	openObjects func() (objects, error)
	permissions map[string]permissions
	signIn      signIn
	config      atomic.Pointer[config]
}

func newPlugin(storePath string, c cloud.Cloud, openObjects func() (objects, error), who signIn) (*plugin, error) {
	types, err := schema.Load()
	if err != nil {
		return nil, err
	}
	return &plugin{
		types:       types,
		resources:   resources(),
		store:       store.Open(storePath),
		cloud:       c,
		openObjects: openObjects,
		permissions: permissionsOf(),
		signIn:      who,
	}, nil
}

func resources() map[string]resource {
	return map[string]resource{
		"aws:ec2/vpc:Vpc":                                     vpc{},
		"aws:ec2/subnet:Subnet":                               subnet{},
		"aws:ec2/internetGateway:InternetGateway":             internetGateway{},
		"aws:ec2/routeTable:RouteTable":                       routeTable{},
		"aws:ec2/route:Route":                                 route{},
		"aws:ec2/routeTableAssociation:RouteTableAssociation": routeTableAssociation{},
		"aws:ec2/vpcEndpoint:VpcEndpoint":                     vpcEndpoint{},
		"aws:ec2/securityGroup:SecurityGroup":                 securityGroup{},
		"aws:ec2/securityGroupRule:SecurityGroupRule":         securityGroupRule{},
		"aws:ec2/keyPair:KeyPair":                             keyPair{},
		"aws:ec2/instance:Instance":                           instance{},
		"aws:ec2/eip:Eip":                                     eip{},
		"aws:ec2/eipAssociation:EipAssociation":               eipAssociation{},
		"aws:route53/record:Record":                           record{},
		"aws:iam/policy:Policy":                               managedPolicy{},
		"aws:iam/role:Role":                                   role{},
		"aws:iam/rolePolicy:RolePolicy":                       rolePolicy{},
		"aws:iam/instanceProfile:InstanceProfile":             instanceProfile{},
		"aws:iam/openIdConnectProvider:OpenIdConnectProvider": openIDConnectProvider{},
		"aws:s3/bucketV2:BucketV2":                            bucket{},
		"aws:s3/bucketVersioningV2:BucketVersioningV2":        bucketVersioning{},
		"aws:s3/bucketServerSideEncryptionConfigurationV2:BucketServerSideEncryptionConfigurationV2": bucketEncryption{},
		"aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock":                                     bucketPublicAccessBlock{},
		"aws:s3/bucketOwnershipControls:BucketOwnershipControls":                                     bucketOwnershipControls{},
		"aws:s3/bucketPolicy:BucketPolicy":                                                           bucketPolicy{},
		"aws:s3/bucketLifecycleConfigurationV2:BucketLifecycleConfigurationV2":                       bucketLifecycle{},
	}
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

func (pl *plugin) lookup(urn presource.URN) (*schema.Type, resource, error) {
	token := string(urn.Type())
	t, r := pl.types[token], pl.resources[token]
	if t == nil || r == nil {
		return nil, nil, fmt.Errorf("localcloud does not support resource type %s; it supports %s",
			token, strings.Join(slices.Sorted(maps.Keys(pl.types)), ", "))
	}
	return t, r, nil
}

func (pl *plugin) check(_ context.Context, request p.CheckRequest) (p.CheckResponse, error) {
	t, _, err := pl.lookup(request.Urn)
	if err != nil {
		return p.CheckResponse{}, err
	}
	inputs := request.Inputs
	if config := pl.config.Load(); config != nil {
		inputs = config.tag(t, inputs)
	}
	checked, failures, err := t.Check(request.Urn.Name(), request.State, inputs)
	if err != nil {
		return p.CheckResponse{}, err
	}
	return p.CheckResponse{Inputs: checked, Failures: failures}, nil
}

func (pl *plugin) diff(_ context.Context, request p.DiffRequest) (p.DiffResponse, error) {
	t, _, err := pl.lookup(request.Urn)
	if err != nil {
		return p.DiffResponse{}, err
	}
	return t.Diff(request.OldInputs, request.Inputs, request.State), nil
}

func (pl *plugin) create(ctx context.Context, request p.CreateRequest) (p.CreateResponse, error) {
	t, r, err := pl.lookup(request.Urn)
	if err != nil {
		return p.CreateResponse{}, err
	}
	if request.DryRun {
		return p.CreateResponse{Properties: t.PreviewCreate(request.Properties)}, nil
	}
	var response p.CreateResponse
	may := pl.permissions[t.Token]
	err = pl.run(ctx, func(op *operation) error {
		q := question{operation: op, inputs: request.Properties}
		if err := op.authorize(all(may.create(q), may.read(q))); err != nil {
			return err
		}
		id, err := r.create(ctx, op, request.Properties)
		if err != nil {
			return err
		}
		response.ID = id
		response.Properties, err = outputs(ctx, op, t, r, id, request.Properties)
		return err
	})
	if err != nil {
		return p.CreateResponse{}, fmt.Errorf("create %s: %w", t.Token, err)
	}
	return response, nil
}

func (pl *plugin) read(ctx context.Context, request p.ReadRequest) (p.ReadResponse, error) {
	t, r, err := pl.lookup(request.Urn)
	if err != nil {
		return p.ReadResponse{}, err
	}
	var response p.ReadResponse
	may := pl.permissions[t.Token]
	err = pl.run(ctx, func(op *operation) error {
		if err := op.authorize(may.read(question{operation: op, id: request.ID, inputs: request.Inputs})); err != nil {
			return err
		}
		properties, err := outputs(ctx, op, t, r, request.ID, request.Inputs)
		if errors.Is(err, errGone) {
			return nil
		}
		if err != nil {
			return err
		}
		response = p.ReadResponse{ID: request.ID, Properties: properties, Inputs: t.Refresh(request.Inputs, properties)}
		return nil
	})
	if err != nil {
		return p.ReadResponse{}, fmt.Errorf("read %s %q: %w", t.Token, request.ID, err)
	}
	return response, nil
}

func (pl *plugin) update(ctx context.Context, request p.UpdateRequest) (p.UpdateResponse, error) {
	t, r, err := pl.lookup(request.Urn)
	if err != nil {
		return p.UpdateResponse{}, err
	}
	var response p.UpdateResponse
	may := pl.permissions[t.Token]
	err = pl.run(ctx, func(op *operation) error {
		if refuser, ok := r.(updateRefuser); ok {
			if err := refuser.refuseUpdate(op, request.ID, request.Inputs); err != nil {
				return err
			}
		}
		if request.DryRun {
			response.Properties = t.PreviewUpdate(request.State, request.Inputs)
			return nil
		}
		q := question{operation: op, id: request.ID, inputs: request.Inputs, old: request.OldInputs}
		if err := op.authorize(all(may.update(q), may.read(q))); err != nil {
			return err
		}
		if err := r.update(ctx, op, request.ID, request.Inputs); err != nil {
			return err
		}
		var err error
		response.Properties, err = outputs(ctx, op, t, r, request.ID, request.Inputs)
		return err
	})
	if err != nil {
		return p.UpdateResponse{}, fmt.Errorf("update %s %q: %w", t.Token, request.ID, err)
	}
	return response, nil
}

func (pl *plugin) delete(ctx context.Context, request p.DeleteRequest) error {
	t, r, err := pl.lookup(request.Urn)
	if err != nil {
		return err
	}
	may := pl.permissions[t.Token]
	err = pl.run(ctx, func(op *operation) error {
		if err := op.authorize(may.delete(question{operation: op, id: request.ID, old: request.OldInputs})); err != nil {
			return err
		}
		return r.delete(ctx, op, request.ID)
	})
	if err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("delete %s %q: %w", t.Token, request.ID, err)
	}
	return nil
}

// outputs reads a resource and shapes what the engine keeps of it.
func outputs(ctx context.Context, op *operation, t *schema.Type, r resource, id string, inputs property.Map) (property.Map, error) {
	record, err := r.read(ctx, op, id)
	if err != nil {
		return property.Map{}, err
	}
	properties, err := schema.Encode(record)
	if err != nil {
		return property.Map{}, err
	}
	if slices.Contains(t.Outputs, "tagsAll") {
		tags := properties.Get("tags")
		if tags.IsNull() {
			tags = property.New(map[string]property.Value{})
		}
		properties = properties.Set("tagsAll", tags)
	}
	return schema.MarkSecrets(properties, inputs), nil
}
