package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/dockerd"
	"immutable-infra/localcloud/internal/plugin/awsplugin"
	"immutable-infra/localcloud/internal/plugin/awsplugin/store"
	"immutable-infra/localcloud/internal/state"
)

// environment holds the variables that a shell or a command needs for the local cloud. Empty variables must be unset.
type environment map[string]string

// environment returns the variables. It requires the S3 server's root account, but not a running server.
func (p *project) environment(ctx context.Context) (environment, error) {
	s3, err := p.local.S3()
	if err != nil {
		return nil, err
	}
	variables := environment{
		"PATH":                     p.home.Bin() + ":" + withoutElement(os.Getenv("PATH"), p.home.Bin()),
		state.Variable:             p.home.String(),
		"PULUMI_HOME":              p.home.Pulumi(),
		"PULUMI_BACKEND_URL":       backendURL(s3),
		"PULUMI_CONFIG_PASSPHRASE": "localcloud",
		"PULUMI_SKIP_UPDATE_CHECK": "true",
		"AWS_ACCESS_KEY_ID":        s3.AccessKeyID,
		"AWS_SECRET_ACCESS_KEY":    s3.SecretAccessKey,
		// The local cloud's keys have no session token, and its S3 server rejects requests with one.
		"AWS_SESSION_TOKEN": "",
		"AWS_REGION":        s3.Region,
		// Version 1 of the AWS CLI reads only this name.
		"AWS_DEFAULT_REGION":   s3.Region,
		"AWS_ENDPOINT_URL_S3":  s3.Endpoint,
		"AWS_ENDPOINT_URL_KMS": cloud.AWSAPIEndpoint(),
		"AWS_ENDPOINT_URL_STS": cloud.AWSAPIEndpoint(),
		"AWS_ENDPOINT_URL_EC2": cloud.AWSAPIEndpoint(),
		"AWS_CA_BUNDLE":        s3.CAFile,
		// With the provider "AWS", rclone prepends the bucket to the endpoint's host, which fails for an IP address.
		"RCLONE_S3_PROVIDER":         "Other",
		"RCLONE_S3_ENDPOINT":         s3.Endpoint,
		"RCLONE_S3_FORCE_PATH_STYLE": "true",
		"RCLONE_CA_CERT":             s3.CAFile,
		"UPTIMEROBOT_CA_BUNDLE":      s3.CAFile,
	}
	docker, own, err := p.engine.Find(ctx)
	if err != nil && !errors.Is(err, dockerd.ErrNotRunning) {
		return nil, err
	}
	if own {
		variables["DOCKER_HOST"] = docker.Host
	}
	return variables, nil
}

// list returns the variables in the form of os/exec.
func (e environment) list() []string {
	var list []string
	for name, value := range e {
		list = append(list, name+"="+value)
	}
	return list
}

// export returns the variables as commands for a POSIX shell.
func (e environment) export() string {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e)) {
		if e[name] == "" {
			fmt.Fprintf(&text, "unset %s\n", name)
		} else {
			fmt.Fprintf(&text, "export %s='%s'\n", name, strings.ReplaceAll(e[name], "'", `'\''`))
		}
	}
	return text.String()
}

func withoutElement(list, element string) string {
	kept := slices.DeleteFunc(filepath.SplitList(list), func(entry string) bool { return entry == element })
	return strings.Join(kept, string(filepath.ListSeparator))
}

func envVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("env", flag.ContinueOnError)
	role := flags.String("role", "", "act as this role instead of the administrator")
	p, err := openProject(flags, args)
	if err != nil {
		return err
	}
	variables, err := p.environment(ctx)
	if err != nil {
		return err
	}
	if *role != "" {
		account, err := awsplugin.RoleAccount(ctx, p.home.String(), *role)
		if err != nil {
			return err
		}
		variables = variables.withAccount(account)
	}
	_, err = fmt.Print(variables.export())
	return err
}

// withAccount returns a copy of the environment with the access key of another account.
func (e environment) withAccount(account store.Account) environment {
	changed := maps.Clone(e)
	changed["AWS_ACCESS_KEY_ID"], changed["AWS_SECRET_ACCESS_KEY"] = account.AccessKeyID, account.SecretAccessKey
	return changed
}

func statusVerb(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("status", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "print JSON")
	p, err := openProject(flags, args)
	if err != nil {
		return err
	}
	status, err := p.local.Status(ctx)
	if err != nil {
		return err
	}
	if *asJSON {
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetIndent("", "  ")
		return encoder.Encode(status)
	}
	return printStatus(status)
}

func printStatus(status cloud.Status) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ROLE\tCONTAINER\tSTATE\tMEMORY\tLIMIT")
	for _, c := range status.Containers {
		limit := "-"
		if c.MemoryLimit > 0 {
			limit = mebibytes(c.MemoryLimit)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", c.Role, c.Name, c.State, mebibytes(c.Memory), limit)
	}
	if status.EngineMemory > 0 {
		fmt.Fprintf(table, "engine\tdockerd\trunning\t%s\t-\n", mebibytes(status.EngineMemory))
	}
	fmt.Fprintf(table, "total\t\t\t%s\t\n", mebibytes(status.Memory))
	return table.Flush()
}

func mebibytes(bytes int64) string { return fmt.Sprintf("%.0f MiB", float64(bytes)/(1<<20)) }
