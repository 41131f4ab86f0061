// Command bootstrap creates the prerequisites of a stack: the bucket for Pulumi's state, the key for its secrets, and
// the stack in that state. It is idempotent.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"immutable-infra/internal/rehearsal"
	"immutable-infra/ops/bootstrap/internal/backend"
	"immutable-infra/ops/bootstrap/internal/bucket"
	"immutable-infra/ops/bootstrap/internal/key"
	"immutable-infra/ops/bootstrap/internal/stackfile"
	"immutable-infra/ops/bootstrap/internal/steps"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// options holds the arguments of a run.
type options struct {
	// Stack is the stack's name; Project is the directory of its Pulumi program.
	Stack, Project string
	Region         string
	// Bucket is the bucket's name; "" means the default name.
	Bucket string
	// Endpoint is the URL of an S3-compatible store; "" means AWS, or the endpoint in the SDK's environment.
	Endpoint string

	projectName string
	file        *stackfile.File
}

func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := read(args)
	if err != nil {
		return err
	}
	printer := steps.NewPrinter(out)
	if o.Endpoint != "" {
		return o.compatible(ctx, printer, out)
	}
	return o.aws(ctx, printer, out)
}

var (
	// stackName allows only characters that a key's alias may contain.
	stackName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// read parses the command line and the stack's file. Its error lists all problems.
func read(args []string) (*options, error) {
	o := &options{}
	flags := flag.NewFlagSet("bootstrap", flag.ContinueOnError)
	flags.StringVar(&o.Stack, "stack", "", "name of the stack")
	flags.StringVar(&o.Project, "project", ".", "directory of the Pulumi program")
	flags.StringVar(&o.Region, "region", "", "AWS region of the bucket and the key (default: aws:region of the stack)")
	flags.StringVar(&o.Bucket, "bucket", "", "name of the bucket (default: NAME-state-ACCOUNT-REGION)")
	flags.StringVar(&o.Endpoint, "endpoint", "", "URL of an S3-compatible store to use instead of AWS")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}

	var problems []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	check(flags.NArg() == 0, "unexpected argument %s; run: make bootstrap STACK=production",
		strings.Join(flags.Args(), " "))
	if o.Stack == "" {
		check(false, "STACK is not set; run: make bootstrap STACK=production")
	} else if !stackName.MatchString(o.Stack) {
		check(false, "STACK=%s is not a valid name; use letters, digits, hyphens and underscores, such as "+
			"STACK=production", o.Stack)
	} else {
		var err error
		if o.projectName, err = stackfile.ProjectName(o.Project); err != nil {
			return nil, err
		}
		if o.file, err = stackfile.Load(o.Project, o.Stack); err != nil {
			return nil, err
		}
		if o.Region == "" {
			o.Region = o.file.Region
		}
		check(o.Region != "", "no region is set; set aws:region in %s, or run: make bootstrap STACK=%s "+
			"REGION=eu-central-1", o.file.Name, o.Stack)
	}
	// Other stores can have regions with any name.
	check(o.Region == "" || o.Endpoint != "" || regionName.MatchString(o.Region),
		"REGION=%s is not an AWS region; use one such as eu-central-1", o.Region)
	check(o.Bucket == "" || bucketName.MatchString(o.Bucket),
		"BUCKET=%s is not a valid name; use 3 to 63 lower-case letters, digits and hyphens", o.Bucket)
	if o.Endpoint != "" {
		endpoint, err := url.Parse(o.Endpoint)
		check(err == nil && endpoint.Scheme == "https" && endpoint.Host != "",
			"ENDPOINT=%s is not an HTTPS URL; use one such as https://s3.example.net", o.Endpoint)
		check(o.Bucket != "", "BUCKET is not set and has no default with ENDPOINT; set it, such as BUCKET=my-pulumi-state")
	}
	// A key in the wrong account costs money, or encrypts secrets that cannot be decrypted elsewhere.
	rehearsed := rehearsal.Stack(o.Stack)
	inLocalCloud := os.Getenv("AWS_ENDPOINT_URL_KMS") != ""
	check(o.Stack == "" || !rehearsed || inLocalCloud,
		`STACK=%s is a stack of the local cloud, but this shell is set up for AWS; run: eval "$(make -s env)"`,
		o.Stack)
	check(o.Stack == "" || rehearsed || !inLocalCloud,
		"STACK=%s is not a stack of the local cloud, but this shell is set up for it (AWS_ENDPOINT_URL_KMS); use "+
			"another shell", o.Stack)
	if len(problems) > 0 {
		return nil, errors.New(strings.Join(problems, "\n"))
	}
	return o, nil
}

// aws creates the bucket, the key and the stack in an AWS account.
func (o *options) aws(ctx context.Context, printer *steps.Printer, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region))
	if err != nil {
		return fmt.Errorf("cannot load the AWS configuration: %w", err)
	}
	caller, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("no valid AWS credentials; log in first (aws sso login, or AWS_PROFILE, or AWS_ACCESS_KEY_ID "+
			"and AWS_SECRET_ACCESS_KEY): %w", err)
	}
	identity, err := arn.Parse(aws.ToString(caller.Arn))
	if err != nil {
		return fmt.Errorf("cannot parse the ARN of these credentials: %w", err)
	}
	fmt.Fprintf(out, "Account %s, region %s, as %s\n", identity.AccountID, o.Region, identity.Resource)

	if o.Bucket == "" {
		o.Bucket = fmt.Sprintf("%s-state-%s-%s", o.projectName, identity.AccountID, o.Region)
	}
	// The SDK and Pulumi read this variable, but neither infers path-style addressing from it.
	endpoint := os.Getenv("AWS_ENDPOINT_URL_S3")
	state := bucket.Bucket{
		Client: s3.NewFromConfig(cfg, func(options *s3.Options) { options.UsePathStyle = endpoint != "" }),
		Name:   o.Bucket, Region: o.Region, Partition: identity.Partition, Compatible: endpoint != "",
	}
	if !state.Compatible {
		state.Account = identity.AccountID
	}
	stackKey := key.Key{Client: kms.NewFromConfig(cfg), Project: o.projectName, Stack: o.Stack, Region: o.Region}
	if err := o.checkEncryptedValues(ctx, state, stackKey.SecretsProvider()); err != nil {
		return err
	}

	if err := state.Ensure(ctx, printer); err != nil {
		return err
	}
	keyARN, err := stackKey.Ensure(ctx, printer)
	if err != nil {
		return err
	}
	pulumi := o.backend(endpoint)
	if err := o.ensureStack(ctx, printer, pulumi, stackKey.SecretsProvider()); err != nil {
		return err
	}
	fmt.Fprintf(out, `
State:    %s
Secrets:  %s
Key:      %s

Commit %s. Then: pulumi up -s %s
For the roles of GitHub's workflows (docs/github.md), run make access after
  pulumi -C ops/access config set account %s
  pulumi -C ops/access config set stateBucket %s
  pulumi -C ops/access config set --path 'keys["%s"]' %s
`, pulumi.URL, stackKey.SecretsProvider(), keyARN, o.file.Name, o.Stack, identity.AccountID, o.Bucket, o.Stack, keyARN)
	o.warnOfOverride(out, pulumi)
	return nil
}

// compatible creates the bucket in an S3-compatible store, which has no KMS.
func (o *options) compatible(ctx context.Context, printer *steps.Printer, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region))
	if err != nil {
		return fmt.Errorf("cannot load the AWS configuration: %w", err)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("no credentials for %s; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of the store: %w",
			o.Endpoint, err)
	}
	state := bucket.Bucket{
		Client: s3.NewFromConfig(cfg, func(options *s3.Options) {
			options.BaseEndpoint = aws.String(o.Endpoint)
			options.UsePathStyle = true
		}),
		Name: o.Bucket, Region: o.Region, Partition: "aws", Compatible: true,
	}
	if err := o.checkEncryptedValues(ctx, state, stackfile.Passphrase); err != nil {
		return err
	}
	if err := state.Ensure(ctx, printer); err != nil {
		return err
	}
	pulumi := o.backend(o.Endpoint)
	err = printer.Run("pulumi login", func() (string, error) { return pulumi.URL, pulumi.Login(ctx) })
	if err != nil {
		return err
	}
	has, err := pulumi.HasStack(ctx, o.Stack)
	if err != nil {
		return err
	}
	if has {
		fmt.Fprintf(out, "\nThe stack %s exists.\n", o.Stack)
	} else {
		fmt.Fprintf(out, "\nThis store has no KMS: a passphrase encrypts the stack's secrets. Choose a long one, keep it "+
			"safe, and run\n  pulumi stack init %s --secrets-provider passphrase\n", o.Stack)
	}
	o.warnOfOverride(out, pulumi)
	return nil
}

func (o *options) backend(endpoint string) backend.Backend {
	return backend.Backend{URL: backend.URL(o.Bucket, o.Region, endpoint), Project: o.Project, ProjectName: o.projectName}
}

// checkEncryptedValues returns an error, before anything is created, if the new stack could not decrypt the values in
// its file. An existing stack passes because it is not created again.
func (o *options) checkEncryptedValues(ctx context.Context, state bucket.Bucket, secretsProvider string) error {
	if o.file.Survives(secretsProvider) {
		return nil
	}
	for _, object := range backend.StateKeys(o.projectName, o.Stack) {
		has, err := state.Has(ctx, object)
		if err != nil {
			return err
		}
		if has {
			return nil
		}
	}
	by := o.file.Provider()
	if by == "" || by == secretsProvider {
		by = "a key that is no longer in the file"
	}
	return fmt.Errorf(`%s has values that are encrypted by %s: %s.
Pulumi would create the stack with %s, which cannot decrypt them. Nothing was created.
If the stack is in another state, move it here: docs/state.md. If it does not exist yet, remove these values and the
lines encryptionsalt, encryptedkey and secretsprovider from the file, run this again, and set the values again:
pulumi config set --secret KEY -s %s`,
		o.file.Name, by, strings.Join(o.file.Encrypted, ", "), secretsProvider, o.Stack)
}

// ensureStack logs in and creates the stack if the state does not contain it.
func (o *options) ensureStack(
	ctx context.Context, printer *steps.Printer, pulumi backend.Backend, secretsProvider string,
) error {
	if err := printer.Run("pulumi login", func() (string, error) { return "", pulumi.Login(ctx) }); err != nil {
		return err
	}
	return printer.Run("stack "+o.Stack, func() (string, error) {
		has, err := pulumi.HasStack(ctx, o.Stack)
		if err != nil {
			return "", err
		}
		if !has {
			return "created", pulumi.Init(ctx, o.Stack, secretsProvider)
		}
		switch o.file.Provider() {
		case secretsProvider:
			return "exists", nil
		case "":
			return "", steps.Notice(fmt.Sprintf("exists; its secrets keep the provider in its state, since %s names "+
				"none; to encrypt them with the key: pulumi stack change-secrets-provider '%s' -s %s",
				o.file.Name, secretsProvider, o.Stack))
		default:
			return "", steps.Notice(fmt.Sprintf("exists; its secrets stay encrypted by %s; to encrypt them with the key: "+
				"pulumi stack change-secrets-provider '%s' -s %s", o.file.Provider(), secretsProvider, o.Stack))
		}
	})
}

// warnOfOverride warns if PULUMI_BACKEND_URL overrides the login.
func (o *options) warnOfOverride(out io.Writer, pulumi backend.Backend) {
	override := os.Getenv("PULUMI_BACKEND_URL")
	parsed, err := url.Parse(override)
	if override != "" && (err != nil || parsed.Scheme != "s3" || parsed.Host != o.Bucket) {
		fmt.Fprintf(out, "\nPULUMI_BACKEND_URL is %s in this shell, which overrides the login; unset it, or set it to %s\n",
			override, pulumi.URL)
	}
}
