package commandplugin

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/blang/semver"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/integration"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/property"
	"github.com/stretchr/testify/require"
)

const (
	localURN  = resource.URN("urn:pulumi:local::site::command:local:Command::build")
	remoteURN = resource.URN("urn:pulumi:local::site::command:remote:Command::provision")
	copyURN   = resource.URN("urn:pulumi:local::site::command:remote:CopyToRemote::bundle")
)

// testResource makes the engine's calls for one resource and holds the resource's state between them.
type testResource struct {
	t       *testing.T
	server  integration.Server
	urn     resource.URN
	timeout float64 // for create, update and delete, in seconds; 0 means no timeout
	id      string
	inputs  property.Map
	state   property.Map
}

func newResource(t *testing.T, urn resource.URN) *testResource {
	t.Helper()
	provider, err := provider()
	require.NoError(t, err)
	server, err := integration.NewServer(t.Context(), name, semver.MustParse(version), integration.WithProvider(provider))
	require.NoError(t, err)
	return &testResource{t: t, server: server, urn: urn}
}

func (r *testResource) check(inputs map[string]property.Value) property.Map {
	r.t.Helper()
	checked, err := r.server.Check(p.CheckRequest{Urn: r.urn, Inputs: property.NewMap(inputs)})
	require.NoError(r.t, err)
	require.Empty(r.t, checked.Failures)
	return checked.Inputs
}

func (r *testResource) failures(inputs map[string]property.Value) []p.CheckFailure {
	r.t.Helper()
	checked, err := r.server.Check(p.CheckRequest{Urn: r.urn, Inputs: property.NewMap(inputs)})
	require.NoError(r.t, err)
	return checked.Failures
}

func (r *testResource) create(inputs map[string]property.Value) error {
	r.t.Helper()
	return <-r.startCreate(inputs)
}

// startCreate calls create in the background. The channel receives its error, or nil.
func (r *testResource) startCreate(inputs map[string]property.Value) <-chan error {
	r.t.Helper()
	checked := r.check(inputs)
	ended := make(chan error, 1)
	go func() {
		created, err := r.server.Create(p.CreateRequest{Urn: r.urn, Properties: checked, Timeout: r.timeout})
		if err == nil {
			r.id, r.inputs, r.state = created.ID, checked, created.Properties
		}
		ended <- err
	}()
	return ended
}

func (r *testResource) previewCreate(inputs map[string]property.Value) property.Map {
	r.t.Helper()
	created, err := r.server.Create(p.CreateRequest{Urn: r.urn, Properties: r.check(inputs), DryRun: true})
	require.NoError(r.t, err)
	return created.Properties
}

func (r *testResource) diff(inputs map[string]property.Value) p.DiffResponse {
	r.t.Helper()
	diff, err := r.server.Diff(p.DiffRequest{
		ID: r.id, Urn: r.urn, State: r.state, OldInputs: r.inputs, Inputs: r.check(inputs),
	})
	require.NoError(r.t, err)
	return diff
}

func (r *testResource) update(inputs map[string]property.Value) error {
	r.t.Helper()
	checked := r.check(inputs)
	updated, err := r.server.Update(p.UpdateRequest{
		ID: r.id, Urn: r.urn, State: r.state, OldInputs: r.inputs, Inputs: checked, Timeout: r.timeout,
	})
	if err != nil {
		return err
	}
	r.inputs, r.state = checked, updated.Properties
	return nil
}

func (r *testResource) previewUpdate(inputs map[string]property.Value) property.Map {
	r.t.Helper()
	updated, err := r.server.Update(p.UpdateRequest{
		ID: r.id, Urn: r.urn, State: r.state, OldInputs: r.inputs, Inputs: r.check(inputs), DryRun: true,
	})
	require.NoError(r.t, err)
	return updated.Properties
}

func (r *testResource) delete() error {
	r.t.Helper()
	return r.server.Delete(p.DeleteRequest{
		ID: r.id, Urn: r.urn, Properties: r.state, OldInputs: r.inputs, Timeout: r.timeout,
	})
}

func (r *testResource) stdout() string { return r.state.Get("stdout").AsString() }

func (r *testResource) stderr() string { return r.state.Get("stderr").AsString() }

func str(value string) property.Value { return property.New(value) }

func list(values ...string) property.Value {
	var list []property.Value
	for _, value := range values {
		list = append(list, property.New(value))
	}
	return property.New(list)
}

func with(inputs map[string]property.Value, key string, value property.Value) map[string]property.Value {
	changed := map[string]property.Value{key: value}
	for otherKey, other := range inputs {
		if otherKey != key {
			changed[otherKey] = other
		}
	}
	return changed
}

func TestUnknownResourceTypeIsRejected(t *testing.T) {
	resource := newResource(t, "urn:pulumi:local::site::command:remote:CopyFile::old")
	_, err := resource.server.Check(p.CheckRequest{Urn: resource.urn, Inputs: property.Map{}})
	require.ErrorContains(t, err, "CopyFile")
}

func TestMisspelledInputIsRejected(t *testing.T) {
	for _, urn := range []resource.URN{localURN, remoteURN, copyURN} {
		var named []string
		for _, failure := range newResource(t, urn).failures(map[string]property.Value{"creat": str("true")}) {
			named = append(named, failure.Property)
		}
		require.Contains(t, named, "creat", string(urn))
	}
}

func TestUnknownLoggingValueIsAcceptedAndShowsNothing(t *testing.T) {
	shown := captureLog(t)
	command := newResource(t, localURN)
	require.NoError(t, command.create(map[string]property.Value{"create": str("echo x"), "logging": str("all")}))
	require.Equal(t, "x", command.stdout())
	require.Empty(t, shown())
}

// captureLog captures the log until the test ends. The returned function returns the messages so far: the plugin's own
// and the output of commands.
func captureLog(t *testing.T) func() []string {
	t.Helper()
	before := slog.Default()
	t.Cleanup(func() { slog.SetDefault(before) })
	content := &lockedBuffer{}
	slog.SetDefault(slog.New(slog.NewJSONHandler(content, nil)))
	return func() []string {
		var shown []string
		for line := range strings.Lines(content.String()) {
			var record struct{ Msg string }
			require.NoError(t, json.Unmarshal([]byte(line), &record))
			shown = append(shown, record.Msg)
		}
		return shown
	}
}

type lockedBuffer struct {
	mutex  sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(chunk []byte) (int, error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.Write(chunk)
}

func (b *lockedBuffer) String() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.buffer.String()
}
