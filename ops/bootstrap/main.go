// Command bootstrap makes what a stack needs before Pulumi can make anything: the bucket for
// the state, the key for the secrets, and the stack in that state. It may be run again at any
// time.
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

// order is what is to be done.
type order struct {
	// Stack is the stack's name, Project the directory of its Pulumi program.
	Stack, Project string
	Region         string
	// Bucket is the name of the bucket; "" for the usual one.
	Bucket string
	// Endpoint is the URL of an S3-compatible store; "" is AWS, or what the environment
	// of the SDK has in its place.
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
	// stackName matches what may be in the alias of a key, too.
	stackName  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,99}$`)
	regionName = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
)

// read takes what is to be done from the command line and the stack's file. Its error names
// every problem.
func read(args []string) (*order, error) {
	o := &order{}
	flags := flag.NewFlagSet("bootstrap", flag.ContinueOnError)
	flags.StringVar(&o.Stack, "stack", "", "name of the stack")
	flags.StringVar(&o.Project, "project", ".", "directory of the Pulumi program")
	flags.StringVar(&o.Region, "region", "", "AWS region of the bucket and the key (default: aws:region of the stack)")
	flags.StringVar(&o.Bucket, "bucket", "", "name of the bucket (default: NAME-state-ACCOUNT-REGION)")
	flags.StringVar(&o.Endpoint, "endpoint", "", "URL of an S3-compatible store, in place of AWS")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}

	var problems []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			problems = append(problems, fmt.Sprintf(format, args...))
		}
	}
	check(flags.NArg() == 0, "what is %s for? Write: make bootstrap STACK=production", strings.Join(flags.Args(), " "))
	if o.Stack == "" {
		check(false, "STACK is not set; write: make bootstrap STACK=production")
	} else if !stackName.MatchString(o.Stack) {
		check(false, "STACK=%s is not a name for a stack; write letters, digits, hyphens and underscores, such as "+
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
		check(o.Region != "", "there is no region: set aws:region in %s, or write: make bootstrap STACK=%s "+
			"REGION=eu-central-1", o.file.Name, o.Stack)
	}
	// Another store may call its regions as it likes.
	check(o.Region == "" || o.Endpoint != "" || regionName.MatchString(o.Region),
		"REGION=%s is not an AWS region; write one such as eu-central-1", o.Region)
	check(o.Bucket == "" || bucketName.MatchString(o.Bucket),
		"BUCKET=%s is not a name for a bucket; write 3 to 63 lower-case letters, digits and hyphens", o.Bucket)
	if o.Endpoint != "" {
		endpoint, err := url.Parse(o.Endpoint)
		check(err == nil && endpoint.Scheme == "https" && endpoint.Host != "",
			"ENDPOINT=%s is not the URL of a store; write one such as https://s3.example.net", o.Endpoint)
		check(o.Bucket != "", "BUCKET is not set; another store than AWS's has no account after which to name it: "+
			"BUCKET=my-pulumi-state")
	}
	// A key that is made in the wrong place costs money there, or encrypts what nobody can read elsewhere.
	rehearsed := o.Stack == "local" || strings.HasPrefix(o.Stack, "local-")
	inLocalCloud := os.Getenv("AWS_ENDPOINT_URL_KMS") != ""
	check(o.Stack == "" || !rehearsed || inLocalCloud,
		`STACK=%s is a stack of the local cloud, and this shell points to AWS; in its environment: eval "$(make -s env)"`,
		o.Stack)
	check(o.Stack == "" || rehearsed || !inLocalCloud,
		"STACK=%s is not a stack of the local cloud, and this shell points to it (AWS_ENDPOINT_URL_KMS is set); take "+
			"another shell", o.Stack)
	if len(problems) > 0 {
		return nil, errors.New(strings.Join(problems, "\n"))
	}
	return o, nil
}

// aws makes everything in an AWS account.
func (o *order) aws(ctx context.Context, printer *steps.Printer, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region))
	if err != nil {
		return fmt.Errorf("load the AWS configuration: %w", err)
	}
	caller, err := sts.NewFromConfig(cfg).GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return fmt.Errorf("AWS does not know you; log in (aws sso login, or AWS_PROFILE, or AWS_ACCESS_KEY_ID and "+
			"AWS_SECRET_ACCESS_KEY): %w", err)
	}
	you, err := arn.Parse(aws.ToString(caller.Arn))
	if err != nil {
		return fmt.Errorf("who you are at AWS: %w", err)
	}
	fmt.Fprintf(out, "Account %s, region %s, as %s\n", you.AccountID, o.Region, you.Resource)

	if o.Bucket == "" {
		o.Bucket = fmt.Sprintf("%s-state-%s-%s", o.projectName, you.AccountID, o.Region)
	}
	// The SDK knows this variable, and so does Pulumi; that a bucket is not a part of the
	// host's name, neither does.
	endpoint := os.Getenv("AWS_ENDPOINT_URL_S3")
	state := bucket.Bucket{
		Client: s3.NewFromConfig(cfg, func(options *s3.Options) { options.UsePathStyle = endpoint != "" }),
		Name:   o.Bucket, Region: o.Region, Partition: you.Partition, Compatible: endpoint != "",
	}
	if !state.Compatible {
		state.Account = you.AccountID
	}
	stackKey := key.Key{Client: kms.NewFromConfig(cfg), Project: o.projectName, Stack: o.Stack, Region: o.Region}
	if err := o.refuseToLoseSecrets(ctx, state, stackKey.SecretsProvider()); err != nil {
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
	if err := o.makeStack(ctx, printer, pulumi, stackKey.SecretsProvider()); err != nil {
		return err
	}
	fmt.Fprintf(out, `
The state:    %s
The secrets:  %s
The key:      %s

Commit %s. Then: pulumi up -s %s
For roles that GitHub's workflows take on (docs/github.md): make access, after
  pulumi -C ops/access config set account %s
  pulumi -C ops/access config set stateBucket %s
  pulumi -C ops/access config set --path 'keys["%s"]' %s
`, pulumi.URL, stackKey.SecretsProvider(), keyARN, o.file.Name, o.Stack, you.AccountID, o.Bucket, o.Stack, keyARN)
	o.sayWhereElse(out, pulumi)
	return nil
}

// compatible makes the bucket in an S3-compatible store. There is no KMS beside it.
func (o *order) compatible(ctx context.Context, printer *steps.Printer, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(o.Region))
	if err != nil {
		return fmt.Errorf("load the AWS configuration: %w", err)
	}
	if _, err := cfg.Credentials.Retrieve(ctx); err != nil {
		return fmt.Errorf("there are no credentials for %s; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to those of "+
			"the store: %w", o.Endpoint, err)
	}
	state := bucket.Bucket{
		Client: s3.NewFromConfig(cfg, func(options *s3.Options) {
			options.BaseEndpoint = aws.String(o.Endpoint)
			options.UsePathStyle = true
		}),
		Name: o.Bucket, Region: o.Region, Partition: "aws", Compatible: true,
	}
	if err := o.refuseToLoseSecrets(ctx, state, stackfile.Passphrase); err != nil {
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
		fmt.Fprintf(out, "\nThe stack %s is there.\n", o.Stack)
	} else {
		fmt.Fprintf(out, "\nThere is no KMS here: a passphrase encrypts the stack's secrets. Choose a long one, keep it "+
			"where you will find it again, and\n  pulumi stack init %s --secrets-provider passphrase\n", o.Stack)
	}
	o.sayWhereElse(out, pulumi)
	return nil
}

func (o *order) backend(endpoint string) backend.Backend {
	return backend.Backend{URL: backend.URL(o.Bucket, o.Region, endpoint), Project: o.Project, ProjectName: o.projectName}
}

// refuseToLoseSecrets looks, before anything is made, whether to make the stack would make
// what is encrypted in its file unreadable. A stack that is there already is not made.
func (o *order) refuseToLoseSecrets(ctx context.Context, state bucket.Bucket, secretsProvider string) error {
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
		by = "a key that is not in the file any more"
	}
	return fmt.Errorf(`%s has values that are encrypted by %s: %s.
Pulumi would make the stack with %s, which cannot read them. Nothing was made.
If the stack lives in another state, docs/state.md says how to move it here. If there is none yet, take these values
and the lines encryptionsalt, encryptedkey and secretsprovider out of the file, try again, and set them anew:
pulumi config set --secret KEY -s %s`,
		o.file.Name, by, strings.Join(o.file.Encrypted, ", "), secretsProvider, o.Stack)
}

// makeStack logs in and makes the stack in the state, if it is not there.
func (o *order) makeStack(
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
			return "made", pulumi.Init(ctx, o.Stack, secretsProvider)
		}
		switch o.file.Provider() {
		case secretsProvider:
			return "is there", nil
		case "":
			return "", steps.Notice(fmt.Sprintf("is there, and %s does not say how its secrets are encrypted: Pulumi goes by "+
				"the state. To have them encrypted by the key: "+
				"pulumi stack change-secrets-provider '%s' -s %s", o.file.Name, secretsProvider, o.Stack))
		default:
			return "", steps.Notice(fmt.Sprintf("is there, with secrets that are encrypted by %s. That was left as it is. To "+
				"have them encrypted by the key: "+
				"pulumi stack change-secrets-provider '%s' -s %s", o.file.Provider(), secretsProvider, o.Stack))
		}
	})
}

// sayWhereElse warns of a variable that goes before the login.
func (o *order) sayWhereElse(out io.Writer, pulumi backend.Backend) {
	elsewhere := os.Getenv("PULUMI_BACKEND_URL")
	parsed, err := url.Parse(elsewhere)
	if elsewhere != "" && (err != nil || parsed.Scheme != "s3" || parsed.Host != o.Bucket) {
		fmt.Fprintf(out, "\nIn this shell PULUMI_BACKEND_URL is %s, which goes before the login: unset it, or set it to %s\n",
			elsewhere, pulumi.URL)
	}
}
