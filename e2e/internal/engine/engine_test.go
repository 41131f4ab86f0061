package engine

import (
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	instanceURN    = "urn:pulumi:local::immutable-infra::immutable-infra:index:WebServer$aws:ec2/instance:Instance::web"
	associationURN = "urn:pulumi:local::immutable-infra::" +
		"immutable-infra:index:VIP$aws:ec2/eipAssociation:EipAssociation::vip"
	provisionURN = "urn:pulumi:local::immutable-infra::" +
		"immutable-infra:index:WebServer$aws:ec2/instance:Instance$command:remote:Command::web-provision"
)

func began(op, urn string) string {
	return `{"sequence":1,"timestamp":1,"resourcePreEvent":{"metadata":{"op":"` + op + `","urn":"` + urn + `","type":"a:type:Of"}}}` + "\n"
}

func ended(op, urn string) string {
	return `{"sequence":1,"timestamp":1,"resOutputsEvent":{"metadata":{"op":"` + op + `","urn":"` + urn + `","type":"a:type:Of"}}}` + "\n"
}

var start = time.Date(2026, 4, 14, 12, 0, 0, 0, time.UTC)

// at returns the arrival time of the nth event.
func at(n int) time.Time { return start.Add(time.Duration(n) * time.Second) }

// follow reads events that arrive a second apart.
func follow(t *testing.T, events ...string) Log {
	t.Helper()
	n := 0
	log, err := Follow(strings.NewReader(strings.Join(events, "")), func() time.Time {
		n++
		return at(n)
	})
	require.NoError(t, err)
	return log
}

func TestStepLastsFromItsFirstEventToItsLast(t *testing.T) {
	log := follow(t,
		began("create-replacement", instanceURN),
		ended("create-replacement", instanceURN),
		began("create-replacement", associationURN),
		began("delete-replaced", instanceURN),
		ended("create-replacement", associationURN),
		ended("delete-replaced", instanceURN),
	)
	require.Equal(t, []Step{
		{Op: "create-replacement", URN: instanceURN, Type: "a:type:Of", Name: "web", Began: at(1), Ended: at(2)},
		{Op: "create-replacement", URN: associationURN, Type: "a:type:Of", Name: "vip", Began: at(3), Ended: at(5)},
		{Op: "delete-replaced", URN: instanceURN, Type: "a:type:Of", Name: "web", Began: at(4), Ended: at(6)},
	}, log.Steps)
}

func TestPreviewIsNotAStep(t *testing.T) {
	planned := strings.ReplaceAll(began("create", instanceURN)+ended("create", instanceURN), `}}}`, `},"planning":true}}`)
	log := follow(t, planned, `{"summaryEvent":{"isPreview":true,"durationSeconds":3}}`+"\n",
		`{"summaryEvent":{"isPreview":false}}`+"\n")
	require.Empty(t, log.Steps)
	require.Equal(t, at(3), log.Previewed)
}

func TestChangeOfTheStateAloneIsNotAStep(t *testing.T) {
	log := follow(t,
		began("same", instanceURN), ended("same", instanceURN),
		began("replace", instanceURN), ended("replace", instanceURN),
	)
	require.Empty(t, log.Steps)
}

func TestFailedStepHasAnEnd(t *testing.T) {
	log := follow(t,
		began("create", provisionURN),
		`{"resOpFailedEvent":{"metadata":{"op":"create","urn":"`+provisionURN+`","type":"a:type:Of"},"status":0,"steps":1}}`+
			"\n",
	)
	require.Equal(t, []Step{
		{Op: "create", URN: provisionURN, Type: "a:type:Of", Name: "web-provision", Began: at(1), Ended: at(2), Failed: true},
	}, log.Steps)
}

func TestStepOfAStoppedEngineHasNoEnd(t *testing.T) {
	require.Zero(t, follow(t, began("create", instanceURN)).Steps[0].Ended)
}

func TestOutputOfCommandsIsKept(t *testing.T) {
	log := follow(t,
		`{"diagnosticEvent":{"urn":"`+provisionURN+`","message":"agent\ncontainers\n","severity":"info"}}`+"\n",
		`{"diagnosticEvent":{"message":"of no resource","severity":"info"}}`+"\n",
	)
	require.Equal(t, []Line{
		{At: at(1), Name: "web-provision", Severity: "info", Text: "agent"},
		{At: at(1), Name: "web-provision", Severity: "info", Text: "containers"},
	}, log.Lines)
}

func TestUnreadableLogIsAnError(t *testing.T) {
	_, err := Follow(strings.NewReader("Updating (local):\n"), time.Now)
	require.ErrorContains(t, err, "not JSON")
	_, err = Follow(iotest.ErrReader(iotest.ErrTimeout), time.Now)
	require.ErrorIs(t, err, iotest.ErrTimeout)
}
