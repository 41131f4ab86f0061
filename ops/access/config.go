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

// program is the name of the project whose stacks are deployed, and the prefix of the roles' names.
const program = "immutable-infra"

// Config is the program's configuration.
type Config struct {
	// Subject is the prefix of the subject claims in the repository's tokens, such as repo:owner/name.
	Subject string
	// OIDCProvider is the ARN of the account's OIDC provider for GitHub; "" means to create it.
	OIDCProvider string
	permissions.Settings
}

// Problems is the error for an invalid configuration. It lists all problems.
type Problems []Problem

// Problem is one invalid key.
type Problem struct {
	Key string
	// Reason describes the problem and what to write instead.
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

// Load reads and validates the configuration. Its error lists all problems.
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
			return nil, fmt.Errorf("cannot parse %s: %w", pulumi.EnvConfig, err)
		}
		for qualified, value := range all {
			if key, ok := strings.CutPrefix(qualified, ctx.Project()+":"); ok {
				values[key] = value
			}
		}
	}
	config, err := Parse(values)
	if err != nil {
		return nil, fmt.Errorf("cannot use the configuration of stack %s: %w", ctx.Stack(), err)
	}
	// Without git or a remote there is nothing to compare with.
	remote, _ := exec.Command("git", "config", "--get", "remote.origin.url").Output()
	if warning := config.caseWarning(string(remote)); warning != "" {
		if err := ctx.Log.Warn(warning, nil); err != nil {
			return nil, fmt.Errorf("cannot log the warning about the repository's name: %w", err)
		}
	}
	return config, nil
}

// caseWarning returns a warning if the checkout's remote differs from the configured repository only in case. AWS
// compares subjects case-sensitively, and GitHub's tokens contain the name exactly as GitHub shows it.
func (c *Config) caseWarning(remote string) string {
	configured := repositoryOf(c.Subject)
	checkedOut := regexp.MustCompile(`github\.com[:/]([^/\s]+/[^/\s]+?)(\.git)?\s*$`).FindStringSubmatch(remote)
	if checkedOut == nil || checkedOut[1] == configured || !strings.EqualFold(checkedOut[1], configured) {
		return ""
	}
	return fmt.Sprintf("the repository is %s in the configuration and %s in this checkout; spell it exactly as "+
		"GitHub shows it, or AWS rejects every workflow", configured, checkedOut[1])
}

var (
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	accountID  = regexp.MustCompile(`^\d{12}$`)
	repository = regexp.MustCompile(`^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$`)
	subject    = regexp.MustCompile(`^repo:[A-Za-z0-9-]+(@\d+)?/[A-Za-z0-9._-]+(@\d+)?$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	// stackName matches the names that bucketPrefix in components/bucket.go leaves unchanged.
	stackName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,26}[a-z0-9])?$`)
	keyARN    = regexp.MustCompile(`^arn:aws:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$`)
	hostName  = regexp.MustCompile(`^([a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	zoneID    = regexp.MustCompile(`^Z[0-9A-Z]{1,31}$`)
	// provider matches the ARN of an OIDC provider for GitHub.
	provider = regexp.MustCompile(`^arn:aws:iam::\d{12}:oidc-provider/` + regexp.QuoteMeta(issuer) + `$`)
)

// Parse parses Pulumi's raw values: strings are plain, lists and objects are JSON. Its error is of type Problems.
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
		check(key, key == regionKey || slices.Contains(keys(), key), "unknown key; Pulumi.yaml lists the valid ones")
	}

	check(regionKey, regionName.MatchString(config.Region), "%q is not an AWS region; use one such as eu-central-1",
		config.Region)
	check("account", accountID.MatchString(config.Account),
		"%q is not an AWS account id; use its 12 digits in quotes: aws sts get-caller-identity", config.Account)
	switch repo := values["repository"]; {
	case repo == "" && config.Subject == "":
		check("repository", false, "not set; set it to owner/name, or set subjectPrefix")
	case repo != "" && config.Subject != "":
		check("repository", false, "set together with subjectPrefix; remove one of them")
	case repo != "":
		check("repository", repository.MatchString(repo),
			"%q is not a GitHub repository; use owner/name, exactly as GitHub shows it", repo)
		config.Subject = "repo:" + repo
	default:
		check("subjectPrefix", subject.MatchString(config.Subject),
			"%q is not a subject prefix; use one such as repo:owner@123456/name@456789, without a colon at "+
				"the end", config.Subject)
	}

	decode("stacks", &config.Stacks, `a list of names, such as ["test", "production"]`)
	check("stacks", len(config.Stacks) > 0,
		"not set; list the stacks that are deployed, such as [test, production]")
	for i, name := range config.Stacks {
		check(fmt.Sprintf("stacks[%d]", i), stackName.MatchString(name),
			"%q is not a name that bucket names can begin with; use up to 28 lower-case letters, digits and hyphens", name)
		check(fmt.Sprintf("stacks[%d]", i), name != previewEnvironment,
			"%q is the environment of previews at GitHub; choose another name", name)
		check(fmt.Sprintf("stacks[%d]", i), !slices.Contains(config.Stacks[:i], name), "%q is listed twice; remove one", name)
	}
	for i, name := range config.Stacks {
		for _, other := range config.Stacks {
			ambiguous := strings.HasPrefix(name+"-", other+"-backup-") || strings.HasPrefix(name+"-", other+"-content-")
			check(fmt.Sprintf("stacks[%d]", i), !ambiguous,
				"the permissions for the buckets of %[2]q would include those of %[1]q; choose another name", name, other)
		}
	}
	check("production", slices.Contains(config.Stacks, config.Production), "%q is not in stacks; use one that is",
		config.Production)
	check("stateBucket", config.StateBucket == "" || bucketName.MatchString(config.StateBucket),
		"%q is not the name of a bucket; use the one that make bootstrap prints", config.StateBucket)
	if config.StateBucket == "" {
		config.StateBucket = fmt.Sprintf("%s-state-%s-%s", program, config.Account, config.Region)
	}
	decode("keys", &config.Keys,
		`an object of ARNs, such as {"production": `+
			`"arn:aws:kms:eu-central-1:123456789012:key/01234567-89ab-cdef-0123-456789abcdef"}`)
	for stack, arn := range config.Keys {
		key := "keys." + stack
		check(key, slices.Contains(config.Stacks, stack), "is not in stacks; remove it")
		check(key, keyARN.MatchString(arn),
			"%q is not the ARN of a key, which permissions need instead of an alias; use the one that make "+
				"bootstrap STACK=%s prints", arn, stack)
	}
	decode("zoneIds", &config.ZoneIDs, `a list of ids, such as ["Z0123456789ABCDEFGHIJ"]`)
	for i, id := range config.ZoneIDs {
		check(fmt.Sprintf("zoneIds[%d]", i), zoneID.MatchString(id),
			"%q is not the id of a hosted zone; use one such as Z0123456789ABCDEFGHIJ", id)
	}
	decode("names", &config.Names, `an object of lists of names, such as {"test": ["test.example.org"]}`)
	for stack, names := range config.Names {
		key := "names." + stack
		check(key, slices.Contains(config.Stacks, stack), "is not in stacks; remove it")
		for i, name := range names {
			check(fmt.Sprintf("%s[%d]", key, i), hostName.MatchString(name),
				"%q is not a DNS name; use one such as test.example.org, in lower case; it includes all names below it", name)
		}
	}
	check("oidcProvider", config.OIDCProvider == "" || provider.MatchString(config.OIDCProvider),
		"%q is not the ARN of an OIDC provider for GitHub; use one such as "+
			"arn:aws:iam::123456789012:oidc-provider/%s, or remove the key to create one", config.OIDCProvider, issuer)

	if len(problems) > 0 {
		slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Key, b.Key) })
		return nil, problems
	}
	return config, nil
}
