// Package engine follows the work of Pulumi's engine during an update through its event log. The log's timestamps
// have a resolution of a second, so the arrival of events is timed instead: the log must be read while it is
// written.
package engine

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Log is the work of the engine.
type Log struct {
	// Previewed is the time at which the preview ended, or zero.
	Previewed time.Time
	// Steps are in the order in which they began.
	Steps []Step
	// Lines are the lines of output of commands.
	Lines []Line
}

// Step is an operation of the engine on a resource.
type Step struct {
	// Op is Pulumi's name of the operation, such as "create-replacement".
	Op string
	// URN is the resource's URN. Type and Name are parts of it.
	URN, Type, Name string
	// Ended is zero if the engine was stopped before the step ended.
	Began, Ended time.Time
	Failed       bool
}

// Line is a line of output of a resource's command.
type Line struct {
	At time.Time
	// Name is the resource's name.
	Name     string
	Severity string
	Text     string
}

// Creates reports whether the step created the resource, including as a replacement.
func (s Step) Creates() bool { return s.Op == "create" || s.Op == "create-replacement" }

// Deletes reports whether the step deleted the resource, including a replaced one.
func (s Step) Deletes() bool { return s.Op == "delete" || s.Op == "delete-replaced" }

// changes reports whether a step involved a provider, as opposed to a mere change of the state.
func (s Step) changes() bool { return s.Creates() || s.Deletes() || s.Op == "update" }

// event is the part of Pulumi's apitype.EngineEvent that is needed here.
type event struct {
	Summary *struct {
		IsPreview bool `json:"isPreview"`
	} `json:"summaryEvent"`
	Pre        *stepEvent `json:"resourcePreEvent"`
	Outputs    *stepEvent `json:"resOutputsEvent"`
	Failed     *stepEvent `json:"resOpFailedEvent"`
	Diagnostic *struct {
		URN      string `json:"urn"`
		Message  string `json:"message"`
		Severity string `json:"severity"`
	} `json:"diagnosticEvent"`
}

type stepEvent struct {
	Metadata struct {
		Op   string `json:"op"`
		URN  string `json:"urn"`
		Type string `json:"type"`
	} `json:"metadata"`
	Planning bool `json:"planning"`
}

func (e *stepEvent) step() Step {
	return Step{Op: e.Metadata.Op, URN: e.Metadata.URN, Type: e.Metadata.Type, Name: nameOf(e.Metadata.URN)}
}

// nameOf returns the last part of a URN.
func nameOf(urn string) string { return urn[strings.LastIndex(urn, ":")+1:] }

// Follow reads an event log to its end. now returns the arrival time of an event.
func Follow(events io.Reader, now func() time.Time) (Log, error) {
	var log Log
	// Events contain whole resources, so lines can be too long for a Scanner.
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return log, fmt.Errorf("cannot follow the engine: %w", err)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			var e event
			if err := json.Unmarshal(line, &e); err != nil {
				return log, fmt.Errorf("cannot follow the engine: an event is not JSON: %w", err)
			}
			log.add(e, now())
		}
		if err != nil {
			return log, nil
		}
	}
}

func (l *Log) add(e event, at time.Time) {
	switch {
	case e.Summary != nil && e.Summary.IsPreview:
		l.Previewed = at
	case e.Pre != nil && !e.Pre.Planning:
		if step := e.Pre.step(); step.changes() {
			step.Began = at
			l.Steps = append(l.Steps, step)
		}
	case e.Outputs != nil && !e.Outputs.Planning:
		l.end(e.Outputs.step(), at, false)
	case e.Failed != nil:
		l.end(e.Failed.step(), at, true)
	case e.Diagnostic != nil && e.Diagnostic.URN != "":
		for text := range strings.Lines(e.Diagnostic.Message) {
			if text = strings.TrimSpace(text); text != "" {
				l.Lines = append(l.Lines, Line{At: at, Name: nameOf(e.Diagnostic.URN), Severity: e.Diagnostic.Severity, Text: text})
			}
		}
	}
}

func (l *Log) end(ended Step, at time.Time, failed bool) {
	for i := range l.Steps {
		step := &l.Steps[i]
		if step.Ended.IsZero() && step.Op == ended.Op && step.URN == ended.URN {
			step.Ended, step.Failed = at, failed
			return
		}
	}
}
