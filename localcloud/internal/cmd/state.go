package cmd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"syscall"

	"immutable-infra/localcloud/internal/cloud"
	"immutable-infra/localcloud/internal/plugin/awsplugin/s3server"
)

// stateBucket holds Pulumi's state. Its name follows the scheme of ops/bootstrap: account id and region.
const stateBucket = "immutable-infra-state-123456789012-" + cloud.Region

// Pulumi's backend for object stores keeps stacks, and the locks of stacks that are being updated, at
// <prefix>/<project>/<stack>[...].json.
const (
	stackPrefix = ".pulumi/stacks/"
	lockPrefix  = ".pulumi/locks/organization/"
)

func backendURL(s3 cloud.S3) string {
	query := url.Values{"region": {s3.Region}, "endpoint": {s3.Endpoint}, "s3ForcePathStyle": {"true"}}
	return "s3://" + stateBucket + "?" + query.Encode()
}

func (p *project) s3() (*s3server.Server, error) {
	settings, err := p.local.S3()
	if err != nil {
		return nil, err
	}
	return s3server.New(settings)
}

func (p *project) createStateBucket(ctx context.Context) error {
	server, err := p.s3()
	if err != nil {
		return err
	}
	if err := server.CreateBucket(ctx, stateBucket); err != nil && !s3server.HasCode(err, "BucketAlreadyOwnedByYou") {
		return fmt.Errorf("cannot create bucket %s: %w", stateBucket, err)
	}
	if err := server.PutVersioning(ctx, stateBucket, "Enabled"); err != nil {
		return fmt.Errorf("cannot enable versioning of bucket %s: %w", stateBucket, err)
	}
	return nil
}

func (p *project) stacks(ctx context.Context) ([]string, error) {
	server, err := p.s3()
	if err != nil {
		return nil, err
	}
	keys, err := server.Keys(ctx, stateBucket, stackPrefix)
	if err != nil && !s3server.HasCode(err, "NoSuchBucket") {
		return nil, fmt.Errorf("cannot list the stacks: %w", err)
	}
	var names []string
	for _, key := range keys {
		if name, ok := strings.CutSuffix(path.Base(key), ".json"); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// releaseStaleLock removes the stack's lock if a killed deployment left it behind: lock holders run on this machine,
// and the holder's process no longer exists. It keeps the lock of a running process; pulumi then reports who holds it.
func (p *project) releaseStaleLock(ctx context.Context) error {
	server, err := p.s3()
	if err != nil {
		return err
	}
	keys, err := server.Keys(ctx, stateBucket, lockPrefix)
	if err != nil {
		return fmt.Errorf("cannot list the locks of stack %s: %w", stackName, err)
	}
	for _, key := range keys {
		if path.Base(path.Dir(key)) != stackName {
			continue
		}
		content, err := server.Get(ctx, stateBucket, key)
		if s3server.HasCode(err, "NoSuchKey") {
			continue
		}
		var holder struct{ PID int }
		if err == nil {
			err = json.Unmarshal(content, &holder)
		}
		if err != nil {
			return fmt.Errorf("cannot read lock %s of stack %s: %w", key, stackName, err)
		}
		if syscall.Kill(holder.PID, 0) != nil {
			if _, err := p.runPulumi(ctx, "cancel", "--yes", "--stack", stackName); err != nil {
				return err
			}
		}
	}
	return nil
}
