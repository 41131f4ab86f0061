package release

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"immutable-infra/server/rules"
)

func (r *Releases) Rules(id string) (rules.Rules, error) {
	return readRules(filepath.Join(r.path(id), siteName))
}

func readRules(site string) (rules.Rules, error) {
	headers, err := readOptional(filepath.Join(site, rules.HeadersFile))
	if err != nil {
		return rules.Rules{}, err
	}
	redirects, err := readOptional(filepath.Join(site, rules.RedirectsFile))
	if err != nil {
		return rules.Rules{}, err
	}
	parsed, err := rules.Parse(headers, redirects)
	if err != nil {
		return rules.Rules{}, fmt.Errorf("cannot apply the site's rules: %w; correct them and run pulumi up", err)
	}
	return parsed, nil
}

func readOptional(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

// nginxFiles renders nginx's configuration for the release with this id, whose files are currently in the
// directory site. The configuration names the release's final directory.
func (r *Releases) nginxFiles(id, site string) (map[string]string, error) {
	parsed, err := readRules(site)
	if err != nil {
		return nil, err
	}
	return parsed.NGINX(rules.Server{Root: filepath.Join(r.path(id), siteName), HSTS: r.hsts}), nil
}

// checkNGINX compares nginx's configuration of a release with the one rendered from its rules.
func (r *Releases) checkNGINX(id string) error {
	want, err := r.nginxFiles(id, filepath.Join(r.path(id), siteName))
	if err != nil {
		return err
	}
	dir := filepath.Join(r.path(id), nginxName)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, rendered := want[entry.Name()]; !rendered {
			return fmt.Errorf("%s is not rendered from the site's rules", filepath.Join(dir, entry.Name()))
		}
	}
	for name, text := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		if string(got) != text {
			return fmt.Errorf("%s is not what the site's rules render to", filepath.Join(dir, name))
		}
	}
	return nil
}
