package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"

	"gopkg.in/yaml.v3"

	"immutable-infra/server"
)

// settings are what of a stack's configuration matters here, with the program's
// defaults for what is not set.
type settings struct {
	Region       string `yaml:"aws:region"`
	InstanceType string `yaml:"immutable-infra:instanceType"`
	AMI          string `yaml:"immutable-infra:ami"`
	// Generation is a number or, as `pulumi config set` writes it, a text that is one.
	Generation string `yaml:"immutable-infra:generation"`
}

func parse(text string) (settings, error) {
	defaults := server.Defaults()
	file := struct{ Config settings }{settings{InstanceType: defaults.InstanceType,
		Generation: strconv.Itoa(defaults.Generation)}}
	if err := yaml.Unmarshal([]byte(text), &file); err != nil {
		return settings{}, fmt.Errorf("not the configuration of a stack: %w", err)
	}
	return file.Config, nil
}

// stackFile is the configuration of a stack, in its file.
type stackFile struct {
	stack, path, text string
	before, after     settings
	image             image
}

func readStackFile(name string) (*stackFile, error) {
	path := "Pulumi." + name + ".yaml"
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read its configuration: %w", err)
	}
	before, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for key, value := range map[string]string{"aws:region": before.Region, "immutable-infra:ami": before.AMI} {
		if value == "" {
			return nil, fmt.Errorf("%s: %s is not set, and has to be", path, key)
		}
	}
	return &stackFile{stack: name, path: path, text: string(text), before: before}, nil
}

// rebuild changes the text: another generation, and the newest image.
func (f *stackFile) rebuild(ctx context.Context) error {
	generation, err := strconv.Atoi(f.before.Generation)
	if err != nil {
		return fmt.Errorf("%s: immutable-infra:generation is %q, and has to be a whole number, such as 2", f.path,
			f.before.Generation)
	}
	configured := server.Settings{InstanceType: f.before.InstanceType}
	if f.image, err = newestImage(ctx, f.before.Region, configured.Architecture()); err != nil {
		return err
	}
	f.after = f.before
	f.after.AMI = f.image.ImageID
	f.after.Generation = strconv.Itoa(generation + 1)
	f.text = set(f.text, "ami", f.after.AMI)
	f.text = set(f.text, "generation", f.after.Generation)
	written, err := parse(f.text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	if written != f.after {
		return fmt.Errorf("%s: ami and generation cannot be changed where they are; write each on a line of its own, such "+
			"as\n  immutable-infra:ami: %s\n  immutable-infra:generation: %s",
			f.path, f.after.AMI, f.after.Generation)
	}
	return nil
}

// set sets a key of the project in the text of a stack's file, and leaves all else
// as it is, comments above all. A key that is not there comes after ami.
func set(text, key, value string) string {
	line := regexp.MustCompile(`(?m)^( +immutable-infra:` + key + `: *)[^\s#]+`)
	if line.MatchString(text) {
		return line.ReplaceAllString(text, "${1}"+value)
	}
	return regexp.MustCompile(`(?m)^( +)immutable-infra:ami:.*$`).ReplaceAllString(text,
		"$0\n${1}immutable-infra:"+key+": "+value)
}

func (f *stackFile) write() error {
	if err := os.WriteFile(f.path, []byte(f.text), 0o644); err != nil {
		return fmt.Errorf("write the configuration of stack %s: %w", f.stack, err)
	}
	return nil
}

// summary says in Markdown what changes.
func (f *stackFile) summary() string {
	image := fmt.Sprintf("the image stays `%s`", f.after.AMI)
	if f.after.AMI != f.before.AMI {
		image = fmt.Sprintf("the image becomes `%s` instead of `%s`", f.after.AMI, f.before.AMI)
	}
	return fmt.Sprintf("- `%s`: generation %s, and %s (%s, of %s)", f.stack, f.after.Generation, image, f.image.Name,
		f.image.CreationDate.Format("2 January 2006"))
}
