package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"immutable-infra/ops/access/permissions"
)

// program is the name of the project whose stacks are deployed, and how names here begin.
const program = "immutable-infra"

// Config is the configuration of the program.
type Config struct {
	// Subject is what the subjects of the repository's tokens begin with, as repo:owner/name.
	Subject string
	// OIDCProvider is the ARN of the account's provider for GitHub's tokens; "" to make it.
	OIDCProvider string
	permissions.Settings
}

// Problems is the error of a configuration: everything that is wrong with it.
type Problems []Problem

// Problem is one wrong key.
type Problem struct {
	Key string
	// Reason says what is wrong and what to write instead.
	Reason string
}

func (p Problems) Error() string {
	var text strings.Builder
	if len(p) == 1 {
		text.WriteString("1 problem")
	} else {
		fmt.Fprintf(&text, "%d problems", len(p))
	}
	for _, problem := range p {
		fmt.Fprintf(&text, "\n  %s: %s", problem.Key, problem.Reason)
	}
	return text.String()
}

const regionKey = "aws:region"

func keys() []string {
	return []string{"account", "repository", "subjectPrefix", "stacks", "production", "stateBucket", "keys", "zoneIds",
		"names", "oidcProvider"}
}

// Load reads and checks the configuration. Its error names every problem.
func Load(ctx *pulumi.Context) (*Config, error) {
	values := map[string]string{}
	values[regionKey], _ = ctx.GetConfig(regionKey)
	for _, key := range keys() {
		if value, ok := ctx.GetConfig(ctx.Project() + ":" + key); ok {
			values[key] = value
		}
	}
	if encoded := os.Getenv(pulumi.EnvConfig); encoded != "" {
		var all map[string]string
		if err := json.Unmarshal([]byte(encoded), &all); err != nil {
			return nil, fmt.Errorf("read %s: %w", pulumi.EnvConfig, err)
		}
		for qualified, value := range all {
			if key, own := strings.CutPrefix(qualified, ctx.Project()+":"); own {
				values[key] = value
			}
		}
	}
	config, err := Parse(values)
	if err != nil {
		return nil, fmt.Errorf("configuration of stack %s: %w", ctx.Stack(), err)
	}
	// Without git or a remote there is nothing to compare with.
	remote, _ := exec.Command("git", "config", "--get", "remote.origin.url").Output()
	if warning := config.misspelt(string(remote)); warning != "" {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return nil, fmt.Errorf("warn of the repository's name: %w", err)
		}
	}
	return config, nil
}

// misspelt returns a warning if the remote of the checkout spells the repository's name in another case. AWS compares
// subjects with their case, and GitHub's tokens have the name as GitHub shows it.
func (c *Config) misspelt(remote string) string {
	configured := repositoryOf(c.Subject)
	checkedOut := regexp.MustCompile(`github\.com[:/]([^/\s]+/[^/\s]+?)(\.git)?\s*$`).FindStringSubmatch(remote)
	if checkedOut == nil || checkedOut[1] == configured || !strings.EqualFold(checkedOut[1], configured) {
		return ""
	}
	return fmt.Sprintf("the repository is %s in the configuration and %s in this checkout: write it exactly as GitHub "+
		"shows it, with its case, or AWS refuses every workflow", configured, checkedOut[1])
}

var (
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	accountID  = regexp.MustCompile(`^\d{12}$`)
	repository = regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$`)
	subject    = regexp.MustCompile(`^repo:[A-Za-z0-9-]+(@\d+)?/[A-Za-z0-9._-]+(@\d+)?$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	// stackName matches the names that are the beginning of their buckets' names as they are: see
	// bucketPrefix in components/bucket.go.
	stackName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?$`)
	keyARN    = regexp.MustCompile(`^arn:aws:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$`)
	hostName  = regexp.MustCompile(`^([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	zoneID    = regexp.MustCompile(`^Z[0-9A-Z]{1,31}$`)
	// provider matches the ARN of GitHub's provider.
	provider = regexp.MustCompile(`^arn:aws:iam::\d{12}:oidc-provider/` + regexp.QuoteMeta(issuer) + `$`)
)

// Parse makes a configuration of raw values, as Pulumi hands them over: strings as they are,
// lists and objects as JSON. The error is of type Problems.
func Parse(values map[string]string) (*Config, error) {
	config := &Config{OIDCProvider: values["oidcProvider"], Subject: values["subjectPrefix"]}
	config.Settings = permissions.Settings{
		Project: program, Account: values["account"], Region: values[regionKey],
		Production: values["production"], StateBucket: values["stateBucket"],
	}
	var problems Problems
	check := func(key string, ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, Problem{key, fmt.Sprintf(format, args...)})
		}
	}
	decode := func(key string, target any, form string) {
		if raw := values[key]; raw != "" {
			check(key, json.Unmarshal([]byte(raw), target) == nil, "%q is not %s", raw, form)
		}
	}
	for key := range values {
		check(key, key == regionKey || slices.Contains(keys(), key), "there is no such key; see the list in Pulumi.yaml")
	}

	check(regionKey, regionName.MatchString(config.Region), "%q is not an AWS region; write one such as eu-central-1",
		config.Region)
	check("account", accountID.MatchString(config.Account),
		"%q is not the id of an AWS account; write its 12 digits in quotes: aws sts get-caller-identity", config.Account)
	switch repo := values["repository"]; {
	case repo == "" && config.Subject == "":
		check("repository", false, "not set; write owner/name, or set subjectPrefix")
	case repo != "" && config.Subject != "":
		check("repository", false, "set together with subjectPrefix; leave one of them out")
	case repo != "":
		check("repository", repository.MatchString(repo),
			"%q is not a repository at GitHub; write owner/name, exactly as GitHub shows it", repo)
		config.Subject = "repo:" + repo
	default:
		check("subjectPrefix", subject.MatchString(config.Subject),
			"%q is not what a subject begins with; write one such as repo:owner@123456/name@456789, without a colon at "+
				"its end", config.Subject)
	}

	decode("stacks", &config.Stacks, `a list of names, such as ["test", "production"]`)
	check("stacks", len(config.Stacks) > 0,
		"not set; write the names of the stacks that are deployed, such as [test, production]")
	for i, name := range config.Stacks {
		check(fmt.Sprintf("stacks[%d]", i), stackName.MatchString(name),
			"%q is not a name by which the stack's buckets can be known; they know up to 28 lower-case letters, digits and "+
				"hyphens", name)
		check(fmt.Sprintf("stacks[%d]", i), name != previewEnvironment,
			"%q is the environment of previews at GitHub; deploy from one of another name", name)
		check(fmt.Sprintf("stacks[%d]", i), !slices.Contains(config.Stacks[:i], name), "%q is there already; remove it", name)
	}
	for i, name := range config.Stacks {
		for _, other := range config.Stacks {
			mistaken := strings.HasPrefix(name+"-", other+"-backup-") || strings.HasPrefix(name+"-", other+"-content-")
			check(fmt.Sprintf("stacks[%d]", i), !mistaken,
				"the buckets of %q would be taken for those of %q; choose another name", name, other)
		}
	}
	check("production", slices.Contains(config.Stacks, config.Production), "%q is none of the stacks; write one of them",
		config.Production)
	check("stateBucket", config.StateBucket == "" || bucketName.MatchString(config.StateBucket),
		"%q is not the name of a bucket; write the one that make bootstrap names", config.StateBucket)
	if config.StateBucket == "" {
		config.StateBucket = fmt.Sprintf("%s-state-%s-%s", program, config.Account, config.Region)
	}
	decode("keys", &config.Keys,
		`an object of ARNs, such as {"production": `+
			`"arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"}`)
	for stack, arn := range config.Keys {
		key := "keys." + stack
		check(key, slices.Contains(config.Stacks, stack), "is for none of the stacks; remove it")
		check(key, keyARN.MatchString(arn),
			"%q is not the ARN of a key (an alias is not enough: permissions are for keys); write the one that make "+
				"bootstrap STACK=%s names", arn, stack)
	}
	decode("zoneIds", &config.ZoneIDs, `a list of ids, such as ["Z0123456789ABCDEFGHIJ"]`)
	for i, id := range config.ZoneIDs {
		check(fmt.Sprintf("zoneIds[%d]", i), zoneID.MatchString(id),
			"%q is not the id of a hosted zone; write one such as Z0123456789ABCDEFGHIJ", id)
	}
	decode("names", &config.Names, `an object of lists of names, such as {"test": ["test.example.org"]}`)
	for stack, names := range config.Names {
		key := "names." + stack
		check(key, slices.Contains(config.Stacks, stack), "is for none of the stacks; remove it")
		for i, name := range names {
			check(fmt.Sprintf("%s[%d]", key, i), hostName.MatchString(name),
				"%q is not a name in DNS; write one such as test.example.org, in lower case, which stands for all names below "+
					"it, too", name)
		}
	}
	check("oidcProvider", config.OIDCProvider == "" || provider.MatchString(config.OIDCProvider),
		"%q is not the ARN of a provider for GitHub; write one such as arn:aws:iam::123456789012:oidc-provider/%s, or "+
			"leave it out to make it", config.OIDCProvider, issuer)

	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
		return nil, problems
	}
	return config, nil
}
