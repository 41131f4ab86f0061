package awsplugin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	presource "github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/tokens"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
)

const testAMI = "ami-0123456789abcdef0"

// object holds properties as a program writes them.
type object = map[string]any

// harness drives the plugin the way the engine does.
type harness struct {
	t       *testing.T
	plugin  *plugin
	server  integration.Server
	cloud   *fakeCloud
	objects *fakeObjects
	// given is the account whose credentials the plugin is called with.
	given, root store.Account
}

// resource is a resource in the engine's state.
type resource struct {
	urn     presource.URN
	id      string
	inputs  property.Map
	outputs property.Map
}

func newHarness(t *testing.T, config ...object) *harness {
	t.Helper()
	h := &harness{t: t, cloud: newFakeCloud(), objects: newFakeObjects(),
		root: store.Account{AccessKeyID: "AKIAROOT", SecretAccessKey: "root's"}}
	h.given = h.root
	var err error
	h.plugin, err = newPlugin(filepath.Join(t.TempDir(), "cloud", "aws.json"), h.cloud, func() (objectStore, error) {
		return h.objects, nil
	}, func() (given, root store.Account, err error) { return h.given, h.root, nil })
	require.NoError(t, err)
	h.server, err = integration.NewServer(t.Context(), "aws", semver.MustParse(version),
		integration.WithProvider(h.plugin.provider()))
	require.NoError(t, err)
	settings := object{"region": "us-east-1"}
	for _, c := range config {
		maps.Copy(settings, c)
	}
	require.NoError(t, h.server.Configure(p.ConfigureRequest{Args: toMap(settings)}))
	return h
}

func urnOf(token, name string) presource.URN {
	return presource.NewURN("local", "site", "", tokens.Type(token), name)
}

// check returns the checked inputs, or the failures as one line each.
func (h *harness) check(token, name string, inputs object) (property.Map, []string) {
	h.t.Helper()
	response, err := h.server.Check(p.CheckRequest{Urn: urnOf(token, name), Inputs: toMap(inputs)})
	require.NoError(h.t, err)
	var failures []string
	for _, f := range response.Failures {
		failures = append(failures, f.Property+": "+f.Reason)
	}
	return response.Inputs, failures
}

func (h *harness) tryCreate(token, name string, inputs object) (*resource, error) {
	h.t.Helper()
	checked, failures := h.check(token, name, inputs)
	require.Empty(h.t, failures)
	response, err := h.server.Create(p.CreateRequest{Urn: urnOf(token, name), Properties: checked})
	if err != nil {
		return nil, err
	}
	require.NotEmpty(h.t, response.ID)
	return &resource{urn: urnOf(token, name), id: response.ID, inputs: checked, outputs: response.Properties}, nil
}

func (h *harness) create(token, name string, inputs object) *resource {
	h.t.Helper()
	r, err := h.tryCreate(token, name, inputs)
	require.NoError(h.t, err)
	return r
}

// createFails creates a resource, requires an error that contains the code, and returns the error's text.
func (h *harness) createFails(code, token string, inputs object) string {
	h.t.Helper()
	_, err := h.tryCreate(token, "refused", inputs)
	require.ErrorContains(h.t, err, code)
	return err.Error()
}

func (h *harness) diff(r *resource, inputs object) (property.Map, p.DiffResponse) {
	h.t.Helper()
	checked, err := h.server.Check(p.CheckRequest{Urn: r.urn, State: r.inputs, Inputs: toMap(inputs)})
	require.NoError(h.t, err)
	require.Empty(h.t, checked.Failures)
	response, err := h.server.Diff(p.DiffRequest{
		ID: r.id, Urn: r.urn, State: r.outputs, OldInputs: r.inputs, Inputs: checked.Inputs,
	})
	require.NoError(h.t, err)
	return checked.Inputs, response
}

func (h *harness) tryUpdate(r *resource, inputs object, dryRun bool) error {
	h.t.Helper()
	checked, diff := h.diff(r, inputs)
	require.True(h.t, diff.HasChanges)
	require.False(h.t, replaces(diff), "%v", diff.DetailedDiff)
	response, err := h.server.Update(p.UpdateRequest{
		ID: r.id, Urn: r.urn, State: r.outputs, OldInputs: r.inputs, Inputs: checked, DryRun: dryRun,
	})
	if err == nil && !dryRun {
		r.inputs, r.outputs = checked, response.Properties
	}
	return err
}

func (h *harness) update(r *resource, inputs object) {
	h.t.Helper()
	require.NoError(h.t, h.tryUpdate(r, inputs, false))
}

func (h *harness) delete(r *resource) error {
	return h.server.Delete(p.DeleteRequest{ID: r.id, Urn: r.urn, Properties: r.outputs, OldInputs: r.inputs})
}

// refresh reads a resource and reports whether it still exists.
func (h *harness) refresh(r *resource) bool {
	h.t.Helper()
	response, err := h.server.Read(p.ReadRequest{ID: r.id, Urn: r.urn, Properties: r.outputs, Inputs: r.inputs})
	require.NoError(h.t, err)
	if response.ID == "" {
		return false
	}
	r.inputs, r.outputs = response.Inputs, response.Properties
	return true
}

func (r *resource) get(name string) string {
	v := r.outputs.Get(name)
	if !v.IsString() {
		return ""
	}
	return v.AsString()
}

func replaces(diff p.DiffResponse) bool {
	for _, change := range diff.DetailedDiff {
		if slices.Contains([]p.DiffKind{p.AddReplace, p.UpdateReplace, p.DeleteReplace}, change.Kind) {
			return true
		}
	}
	return false
}

// toMap converts Go values to properties. A property.Value is kept as it is.
func toMap(o object) property.Map {
	fields := map[string]property.Value{}
	for name, v := range o {
		fields[name] = toValue(v)
	}
	return property.NewMap(fields)
}

func toValue(v any) property.Value {
	switch v := v.(type) {
	case property.Value:
		return v
	case nil:
		return property.Value{}
	case string:
		return property.New(v)
	case bool:
		return property.New(v)
	case int:
		return property.New(float64(v))
	case object:
		return property.New(toMap(v))
	case []string:
		items := []property.Value{}
		for _, item := range v {
			items = append(items, property.New(item))
		}
		return property.New(items)
	case []object:
		items := []property.Value{}
		for _, item := range v {
			items = append(items, toValue(item))
		}
		return property.New(items)
	default:
		panic(fmt.Sprintf("no property value for %T", v))
	}
}

// fakeCloud records the resources that the plugin requests.
type fakeCloud struct {
	vpcs      map[string]cloud.VPC
	gateways  map[string]cloud.GatewayState
	applied   int // number of ApplyGateway calls
	instances map[string]cloud.InstanceSpec
	records   []dns.Record
	// stopped holds the IDs of the instances that shut themselves down.
	stopped map[string]bool
	// runError makes RunInstance fail.
	runError error
	// shutDown blocks ShutDownInstance until it is closed, unless it is nil.
	shutDown chan struct{}
	// recordsError makes ApplyRecords fail.
	recordsError error
}

func newFakeCloud() *fakeCloud {
	return &fakeCloud{
		vpcs:      map[string]cloud.VPC{},
		gateways:  map[string]cloud.GatewayState{},
		instances: map[string]cloud.InstanceSpec{},
	}
}

func (c *fakeCloud) Image(_ context.Context, ami string) (cloud.Image, error) {
	if ami != testAMI {
		return cloud.Image{}, fmt.Errorf("%w: this machine has %s", cloud.ErrNotFound, testAMI)
	}
	return cloud.Image{Architecture: "x86_64", RootDeviceName: "/dev/xvda"}, nil
}

func (c *fakeCloud) CreateVPC(_ context.Context, v cloud.VPC) error {
	c.vpcs[v.ID] = v
	return nil
}

func (c *fakeCloud) DeleteVPC(_ context.Context, id string) error {
	delete(c.vpcs, id)
	return nil
}

func (c *fakeCloud) ApplyGateway(_ context.Context, vpcID string, state cloud.GatewayState) error {
	if _, ok := c.vpcs[vpcID]; !ok {
		return cloud.ErrNotFound
	}
	c.gateways[vpcID] = state
	c.applied++
	return nil
}

func (c *fakeCloud) ApplyRecords(_ context.Context, records []dns.Record) error {
	c.records = records
	return c.recordsError
}

func (c *fakeCloud) RunInstance(_ context.Context, spec cloud.InstanceSpec) error {
	if c.runError != nil {
		return c.runError
	}
	for _, n := range c.gateways[spec.VpcID].Interfaces {
		if n.InstanceID == spec.ID {
			c.instances[spec.ID] = spec
			return nil
		}
	}
	return errors.New("the instance's network interface is not part of the gateway's state")
}

func (c *fakeCloud) ShutDownInstance(context.Context, string) error {
	if c.shutDown != nil {
		<-c.shutDown
	}
	return nil
}

func (c *fakeCloud) TerminateInstance(_ context.Context, id string) error {
	if _, ok := c.instances[id]; !ok {
		return cloud.ErrNotFound
	}
	delete(c.instances, id)
	return nil
}

func (c *fakeCloud) InstanceState(_ context.Context, id string) (string, error) {
	if _, ok := c.instances[id]; !ok {
		return "", cloud.ErrNotFound
	}
	if c.stopped[id] {
		return cloud.InstanceStopped, nil
	}
	return cloud.InstanceRunning, nil
}

// networkInterface returns an instance's interface from the state last applied to a gateway.
func (c *fakeCloud) networkInterface(t *testing.T, id string) cloud.NetworkInterface {
	t.Helper()
	for _, state := range c.gateways {
		for _, n := range state.Interfaces {
			if n.InstanceID == id {
				return n
			}
		}
	}
	require.Failf(t, "no gateway has an interface of the instance", "instance %s", id)
	return cloud.NetworkInterface{}
}

// fakeObjects is an object store in memory.
type fakeObjects struct {
	buckets  map[string]*fakeBucket
	accounts map[string]string
}

type fakeBucket struct {
	objects    []string
	versioning string
	ownership  string
	policy     string
}

func newFakeObjects() *fakeObjects {
	return &fakeObjects{buckets: map[string]*fakeBucket{}, accounts: map[string]string{}}
}

func (o *fakeObjects) Buckets(context.Context) ([]string, error) {
	return slices.Sorted(maps.Keys(o.buckets)), nil
}

func (o *fakeObjects) Policy(_ context.Context, bucket string) (string, error) {
	return o.buckets[bucket].policy, nil
}

func (o *fakeObjects) CreateBucket(_ context.Context, bucket string) error {
	o.buckets[bucket] = &fakeBucket{}
	return nil
}

func (o *fakeObjects) BucketExists(_ context.Context, bucket string) (bool, error) {
	return o.buckets[bucket] != nil, nil
}

func (o *fakeObjects) DeleteBucket(_ context.Context, bucket string) error {
	if len(o.buckets[bucket].objects) > 0 {
		return apiError("BucketNotEmpty", "The bucket you tried to delete is not empty")
	}
	delete(o.buckets, bucket)
	return nil
}

func (o *fakeObjects) EmptyBucket(_ context.Context, bucket string) error {
	o.buckets[bucket].objects = nil
	return nil
}

func (o *fakeObjects) PutVersioning(_ context.Context, bucket, status string) error {
	o.buckets[bucket].versioning = status
	return nil
}

func (o *fakeObjects) PutOwnership(_ context.Context, bucket, ownership string) error {
	o.buckets[bucket].ownership = ownership
	return nil
}

func (o *fakeObjects) PutPolicy(_ context.Context, bucket, document string) error {
	b, ok := o.buckets[bucket]
	if !ok {
		return apiError("NoSuchBucket", "The specified bucket does not exist")
	}
	b.policy = document
	return nil
}

func (o *fakeObjects) CreateAccount(_ context.Context, accessKeyID, secretAccessKey string) error {
	if _, exists := o.accounts[accessKeyID]; !exists {
		o.accounts[accessKeyID] = secretAccessKey
	}
	return nil
}

func (o *fakeObjects) DeleteAccount(_ context.Context, accessKeyID string) error {
	delete(o.accounts, accessKeyID)
	return nil
}

// as runs the following operations as a role, until the returned function is called.
func (h *harness) as(role string) (restore func()) {
	h.t.Helper()
	account, err := h.plugin.roleAccount(h.t.Context(), role)
	require.NoError(h.t, err)
	h.given = account
	return func() { h.given = h.root }
}

func (h *harness) state() *store.State {
	h.t.Helper()
	var state *store.State
	require.NoError(h.t, h.plugin.store.Update(h.t.Context(), func(tx *store.Transaction) error {
		state = tx.State
		return nil
	}))
	return state
}
