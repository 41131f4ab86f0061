// Package dashboards reads the queries of Grafana's dashboards and fills in variables as Grafana does.
package dashboards

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

type Dashboard struct {
	// UID is the dashboard's name in URLs.
	UID   string
	Title string
	// queries are the queries as in the file, without values for variables.
	queries []Query
}

// Query is one expression of a dashboard.
type Query struct {
	// Dashboard is the title of the dashboard.
	Dashboard string
	// Of is the kind of owner: a panel, a variable or an annotation.
	Of Owner
	// Name is the title of the panel, or the name of the variable or annotation.
	Name string
	// Ref distinguishes the expressions of one panel: A, B, ...
	Ref string
	// Expr is the expression, in PromQL.
	Expr string
	// Instant reports whether this is an instant query rather than a range query.
	Instant bool
}

// String describes the query, for example for a failed test.
func (q Query) String() string {
	return fmt.Sprintf("%s: %s %q %s: %s", q.Dashboard, q.Of, q.Name, q.Ref, q.Expr)
}

type Owner string

// The owners of queries. A panel or a variable without data is broken, but an annotation has data only after an event.
const (
	Panel      Owner = "panel"
	Variable   Owner = "variable"
	Annotation Owner = "annotation"
)

// Load reads all dashboards (*.json) in a directory, sorted by file name. A directory without dashboards is an error.
func Load(dir string) ([]Dashboard, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the dashboards in %s: %w", dir, err)
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no dashboards in %s", dir)
	}
	var all []Dashboard
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("cannot read a dashboard: %w", err)
		}
		dashboard, err := parse(text)
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", path, err)
		}
		all = append(all, dashboard)
	}
	return all, nil
}

// Queries returns the expressions of a dashboard with their variables replaced by values. A variable without a value is
// an error.
func (d Dashboard) Queries(values Values) ([]Query, error) {
	var filled []Query
	for _, query := range d.queries {
		expr, err := values.fill(query.Expr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", query, err)
		}
		query.Expr = expr
		filled = append(filled, query)
	}
	return filled, nil
}

// file is the part of Grafana's format that contains expressions.
type file struct {
	UID        string
	Title      string
	Panels     []panel
	Templating struct {
		List []struct {
			Name  string
			Type  string
			Query json.RawMessage
		}
	}
	Annotations struct {
		List []struct{ Name, Expr string }
	}
}

type panel struct {
	Title   string
	Type    string
	Targets []struct {
		RefID   string
		Expr    string
		Instant bool
	}
	// Panels are the panels of a collapsed row.
	Panels []panel
}

func parse(text []byte) (Dashboard, error) {
	var f file
	if err := json.Unmarshal(text, &f); err != nil {
		return Dashboard{}, err
	}
	if f.UID == "" || f.Title == "" {
		return Dashboard{}, fmt.Errorf("it has no uid or no title")
	}
	d := Dashboard{UID: f.UID, Title: f.Title}
	for _, variable := range f.Templating.List {
		if variable.Type != "query" {
			continue
		}
		expr, err := labelValues(variable.Query)
		if err != nil {
			return Dashboard{}, fmt.Errorf("variable %s: %w", variable.Name, err)
		}
		d.queries = append(d.queries,
			Query{Dashboard: f.Title, Of: Variable, Name: variable.Name, Ref: "A", Expr: expr, Instant: true})
	}
	for _, annotation := range f.Annotations.List {
		if annotation.Expr == "" {
			continue // Grafana's own
		}
		d.queries = append(d.queries,
			Query{Dashboard: f.Title, Of: Annotation, Name: annotation.Name, Ref: "A", Expr: annotation.Expr})
	}
	if err := d.addPanels(f.Panels); err != nil {
		return Dashboard{}, err
	}
	return d, nil
}

func (d *Dashboard) addPanels(panels []panel) error {
	for _, p := range panels {
		if err := d.addPanels(p.Panels); err != nil {
			return err
		}
		if p.Type == "row" || p.Type == "text" {
			continue
		}
		if len(p.Targets) == 0 {
			return fmt.Errorf("panel %q has no queries", p.Title)
		}
		for _, target := range p.Targets {
			if target.Expr == "" {
				return fmt.Errorf("panel %q, query %s: no expression", p.Title, target.RefID)
			}
			d.queries = append(d.queries,
				Query{Dashboard: d.Title, Of: Panel, Name: p.Title, Ref: target.RefID, Expr: target.Expr, Instant: target.Instant})
		}
	}
	return nil
}
