package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/handover"
)

// watch runs `agent watch`: it reads the flags and leaves the work to
// handover.Watcher until ctx is done.
func watch(ctx context.Context, args []string, stderr io.Writer, log *slog.Logger) error {
	flags := flag.NewFlagSet("agent watch", flag.ContinueOnError)
	var (
		backup       = backupFlags(flags)
		vip          = flags.String("vip", "", "the stack's persistent `address` (default: VIP of --env-file)")
		holderFile   = flags.String("holder-file", "", "`file` that is there while this server has the VIP (default: none)")
		drainingFile = flags.String("draining-file", "/srv/site/draining", "`file` that is there while visitors are to be asked to reconnect")
		poll         = flags.Duration("poll", 2*time.Second, "look every so much `time`")
		drain        = flags.Duration("drain", 3*time.Second, "ask visitors to reconnect for this `time` before the answer")
	)
	if err := parseFlags(flags, args, "usage: agent watch [flags]", stderr); err != nil {
		return err
	}
	environment, err := backup.complete(flags)
	if err != nil {
		return err
	}
	address, err := netip.ParseAddr(cmp.Or(*vip, environment["VIP"]))
	switch {
	case err != nil:
		return fmt.Errorf("%w: agent watch: --vip, or VIP in %s: %w: give the stack's address, such as 198.51.100.7", errUsage, *backup.envFile, err)
	case *poll <= 0:
		return fmt.Errorf("%w: agent watch: --poll is %s: give a duration above zero, such as 2s", errUsage, *poll)
	case *drain < 0:
		return fmt.Errorf("%w: agent watch: --drain is %s: give a duration, such as 3s", errUsage, *drain)
	}
	store, server, err := backup.open(ctx)
	if err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	metadata := imds.New(imds.Options{})
	watcher := handover.Watcher{
		Server:        server,
		VIP:           address,
		PublicAddress: func(ctx context.Context) (netip.Addr, error) { return publicAddress(ctx, metadata) },
		Store:         store,
		Data:          handover.NoData{},
		HolderFile:    *holderFile,
		DrainingFile:  *drainingFile,
		Poll:          *poll,
		Drain:         *drain,
		Log:           log,
	}
	watcher.Run(ctx)
	return nil
}

// announce runs `agent handover`: it reads the flags and leaves the work to
// handover.Successor.
func announce(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("agent handover", flag.ContinueOnError)
	var (
		backup = backupFlags(flags)
		wait   = flags.Duration("wait", 30*time.Second, "wait for at most this `time` until the server that has the VIP has handed over")
		window = flags.Duration("window", 2*time.Minute, "`time` from now after which that server resumes if it still has the VIP")
	)
	if err := parseFlags(flags, args, "usage: agent handover [flags]", stderr); err != nil {
		return err
	}
	if _, err := backup.complete(flags); err != nil {
		return err
	}
	if *wait <= 0 || *wait >= *window {
		return fmt.Errorf("%w: agent handover: --wait is %s and --window %s: give durations above zero, the second one longer", errUsage, *wait, *window)
	}
	store, server, err := backup.open(ctx)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	err = handover.Successor{
		Server: server,
		Store:  store,
		Data:   handover.NoData{},
		Wait:   *wait,
		Window: *window,
		Out:    stdout,
	}.Announce(ctx)
	if err != nil {
		return fmt.Errorf("handover: %w", err)
	}
	return nil
}

// backupBucket is the flags by which a verb finds the backup bucket.
type backupBucket struct{ name, region, envFile *string }

func backupFlags(flags *flag.FlagSet) backupBucket {
	return backupBucket{
		name:    flags.String("bucket", "", "`name` of the backup bucket (default: BACKUP_BUCKET of --env-file)"),
		region:  flags.String("region", "", "AWS `region` of the bucket (default: AWS_REGION of --env-file, or the SDK's default chain)"),
		envFile: flags.String("env-file", serverEnvPath, "`file` with the server's environment"),
	}
}

// complete fills in what the flags leave to the server's environment, which it
// returns.
func (b backupBucket) complete(flags *flag.FlagSet) (environment map[string]string, err error) {
	environment, err = readServerEnv(*b.envFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flags.Name(), err)
	}
	*b.name = cmp.Or(*b.name, environment["BACKUP_BUCKET"])
	*b.region = cmp.Or(*b.region, environment["AWS_REGION"])
	switch {
	case flags.NArg() > 0:
		return nil, fmt.Errorf("%w: %s: unexpected argument %q: flags only", errUsage, flags.Name(), flags.Arg(0))
	case *b.name == "":
		return nil, fmt.Errorf("%w: %s: --bucket is missing, and %s names no BACKUP_BUCKET: give the name of the backup bucket", errUsage, flags.Name(), *b.envFile)
	}
	return environment, nil
}

// open prepares access to the bucket, in the name of this server.
func (b backupBucket) open(ctx context.Context) (store *bucket.Bucket, server string, err error) {
	store, err = bucket.Open(ctx, *b.name, *b.region)
	if err != nil {
		return nil, "", err
	}
	server, err = serverName(instanceIDPath)
	return store, server, err
}

// publicAddress asks the instance metadata service. Without a public address,
// which is a 404 there, it returns none.
func publicAddress(ctx context.Context, metadata *imds.Client) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	output, err := metadata.GetMetadata(ctx, &imds.GetMetadataInput{Path: "public-ipv4"})
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) && response.HTTPStatusCode() == http.StatusNotFound {
		return netip.Addr{}, nil
	}
	if err != nil {
		return netip.Addr{}, fmt.Errorf("ask the metadata service for the public address: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(output.Content, 64))
	if err = errors.Join(err, output.Content.Close()); err != nil {
		return netip.Addr{}, fmt.Errorf("ask the metadata service for the public address: %w", err)
	}
	address, err := netip.ParseAddr(strings.TrimSpace(string(text)))
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the metadata service's public address: %w", err)
	}
	return address, nil
}
