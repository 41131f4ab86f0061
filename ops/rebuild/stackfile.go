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

// settings are the configuration keys of a stack that this command needs, with the program's defaults.
type settings struct {
	Region       string `yaml:"aws:region"`
	InstanceType string `yaml:"immutable-infra:instanceType"`
	AMI          string `yaml:"immutable-infra:ami"`
	// Generation is an integer, but `pulumi config set` writes it as a string.
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

// stackFile is a stack's file, before and after the change.
type stackFile struct {
	stack, path, text string
	before, after     settings
	image             image
}

func readStackFile(name string) (*stackFile, error) {
	path := "Pulumi." + name + ".yaml"
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read its configuration: %w", err)
	}
	before, err := parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for key, value := range map[string]string{"aws:region": before.Region, "immutable-infra:ami": before.AMI} {
		if value == "" {
			return nil, fmt.Errorf("%s: %s is not set; set it", path, key)
		}
	}
	return &stackFile{stack: name, path: path, text: string(text), before: before}, nil
}

// rebuild sets the next generation and the newest image in the text.
func (f *stackFile) rebuild(ctx context.Context) error {
	generation, err := strconv.Atoi(f.before.Generation)
	if err != nil {
		return fmt.Errorf("%s: immutable-infra:generation is %q; expected an integer, such as 2", f.path,
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
		return fmt.Errorf("%s: cannot change ami and generation in place; write each on a line of its own, such as\n"+
			"  immutable-infra:ami: %s\n  immutable-infra:generation: %s",
			f.path, f.after.AMI, f.after.Generation)
	}
	return nil
}

// set sets one of the project's keys in the text of a stack's file and keeps the rest, including comments. A new key is
// inserted after ami.
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
		return fmt.Errorf("cannot write the configuration of stack %s: %w", f.stack, err)
	}
	return nil
}

// summary describes the change in Markdown.
func (f *stackFile) summary() string {
	image := fmt.Sprintf("the image stays `%s`", f.after.AMI)
	if f.after.AMI != f.before.AMI {
		image = fmt.Sprintf("the image becomes `%s` instead of `%s`", f.after.AMI, f.before.AMI)
	}
	return fmt.Sprintf("- `%s`: generation %s, and %s (%s, of %s)", f.stack, f.after.Generation, image, f.image.Name,
		f.image.CreationDate.Format("2 January 2006"))
}
