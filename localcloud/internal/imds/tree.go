package imds

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"
	"time"

	"golang.org/x/tools/txtar"

	"immutable-infra/localcloud/internal/cloud"
)

//go:embed tree.txtar
var documents string

// tree holds the documents of an instance by their path below the version. Directories exist implicitly.
type tree map[string][]byte

// newTree renders the documents for an instance.
func newTree(eni cloud.NetworkInterface, now time.Time) (tree, error) {
	parsed, err := template.New("instance metadata").Funcs(template.FuncMap{"json": asJSON}).Parse(documents)
	if err != nil {
		return nil, err
	}
	expiration := ""
	if role := eni.Metadata.Role; role != nil {
		expiration = timestamp(now.Add(role.Lifetime))
	}
	var rendered strings.Builder
	if err := parsed.Execute(&rendered, struct {
		cloud.NetworkInterface
		cloud.Metadata
		MAC, Number, Hostname, PublicHostname, Groups, Now, Expiration string
	}{
		eni, eni.Metadata, cloud.MAC(eni.PrivateIP), strings.TrimPrefix(eni.InstanceID, "i-"),
		cloud.PrivateHostname(eni.PrivateIP) + "." + cloud.PrivateDomain,
		"ec2-" + strings.ReplaceAll(eni.PublicIP.String(), ".", "-") + ".compute-1.amazonaws.com",
		strings.Join(eni.Metadata.SecurityGroups, "\n"), timestamp(now), expiration,
	}); err != nil {
		return nil, fmt.Errorf("cannot render the instance metadata: %w", err)
	}
	t := tree{}
	for _, document := range txtar.Parse([]byte(rendered.String())).Files {
		t[document.Name] = []byte(strings.TrimSuffix(string(document.Data), "\n"))
	}
	if eni.Metadata.UserData != nil {
		t["user-data"] = eni.Metadata.UserData
	}
	return t, nil
}

func asJSON(value any) (string, error) {
	text, err := json.Marshal(value)
	return string(text), err
}

// get returns a document or, for a directory, the sorted names of its entries. Names of directories end with a slash.
func (t tree) get(path string) ([]byte, bool) {
	path = strings.TrimSuffix(path, "/")
	if content, found := t[path]; found {
		return content, true
	}
	parent := strings.TrimPrefix(path+"/", "/")
	names := map[string]bool{}
	for document := range t {
		rest, inside := strings.CutPrefix(document, parent)
		if !inside {
			continue
		}
		name, _, directory := strings.Cut(rest, "/")
		if directory {
			name += "/"
		}
		names[name] = true
	}
	return []byte(strings.Join(slices.Sorted(maps.Keys(names)), "\n")), len(names) > 0
}

func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
