// Package steps prints the progress of work as a list of steps. Each finished step gets a line with a check mark
// or a cross and its duration. On a terminal, an animated line shows the running steps.
package steps

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

const redrawInterval = 120 * time.Millisecond

// Printer prints steps. Steps may run concurrently.
type Printer struct {
	out      io.Writer
	terminal bool

	mu       sync.Mutex
	active   []*step
	animated bool
	frame    int
}

type step struct {
	name    string
	started time.Time
}

// NewPrinter returns a printer. terminal says whether out is a terminal.
func NewPrinter(out io.Writer, terminal bool) *Printer {
	return &Printer{out: out, terminal: terminal}
}

// Run runs one step and prints its result. It returns the step's error, prefixed with the step's name.
func (p *Printer) Run(ctx context.Context, name string, work func(context.Context) error) error {
	current := &step{name: name, started: time.Now()}
	p.begin(current)
	err := work(ctx)
	p.end(current, err)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func (p *Printer) begin(current *step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = append(p.active, current)
	if !p.terminal {
		fmt.Fprintf(p.out, " • %s\n", current.name)
		return
	}
	if !p.animated {
		p.animated = true
		go p.animate()
	}
}

func (p *Printer) end(current *step, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = slices.DeleteFunc(p.active, func(other *step) bool { return other == current })
	mark := "✓"
	if err != nil {
		mark = "✗"
	}
	p.clearLine()
	fmt.Fprintf(p.out, " %s %s (%.1f s)\n", mark, current.name, time.Since(current.started).Seconds())
}

// animate redraws the running steps until there are none.
func (p *Printer) animate() {
	ticker := time.NewTicker(redrawInterval)
	defer ticker.Stop()
	for range ticker.C {
		if !p.draw() {
			return
		}
	}
}

func (p *Printer) draw() (animated bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.animated = len(p.active) > 0
	if !p.animated {
		return false
	}
	var names []string
	for _, current := range p.active {
		names = append(names, current.name)
	}
	frames := []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")
	p.frame = (p.frame + 1) % len(frames)
	p.clearLine()
	fmt.Fprintf(p.out, " %c %s (%.0f s)", frames[p.frame], strings.Join(names, ", "),
		time.Since(p.active[0].started).Seconds())
	return true
}

func (p *Printer) clearLine() {
	if p.terminal {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
