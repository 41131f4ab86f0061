package main

import (
	"context"
	"flag"
	"io"
	"log/slog"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/certificates"
	"immutable-infra/agent/internal/handover"
	"immutable-infra/agent/internal/history"
)

// backupBucket is the bucket for the data that outlives a server.
type backupBucket struct{ name, region string }

func (b *backupBucket) load(s *settings) {
	b.name, b.region = s.required("BACKUP_BUCKET"), s.optional("AWS_REGION")
}

// open opens the bucket, and returns it with the name of this server.
func (b *backupBucket) open(ctx context.Context) (store *bucket.Bucket, server string, err error) {
	store, err = bucket.Open(ctx, b.name, b.region)
	if err != nil {
		return nil, "", err
	}
	server, err = serverName(instanceIDPath)
	return store, server, err
}

// archive is the data that outlives a server, on this server and in the backup bucket.
type archive struct {
	backupBucket
	certificates siteCertificates
	history      siteHistory
	// vip is the stack's persistent address.
	vip      string
	settings *string
}

func archiveFlags(flags *flag.FlagSet) *archive {
	return &archive{certificates: certificateFlags(flags), history: historyFlags(flags), settings: settingsFlag(flags)}
}

func (a *archive) load(flags *flag.FlagSet) error {
	s, err := loadSettings(flags, *a.settings)
	if err != nil {
		return err
	}
	a.backupBucket.load(s)
	a.certificates.load(s)
	a.history.load(s)
	a.vip = s.required("VIP")
	return s.err()
}

// old returns the data of a server that holds the VIP; it is never restored. Units that run as root watch dir for
// requests to stop and start Prometheus.
func (a *archive) old(store *bucket.Bucket, server, dir string, log *slog.Logger) (handover.Data, error) {
	certificates, err := a.certificates.data(store, "", io.Discard, log)
	return handover.Multi{certificates, a.history.old(store, server, dir, log)}, err
}

type restored struct {
	certificates certificates.Result
	history      history.Result
	done         bool
}

// successor returns the data of a new server. A restore writes its results to found.
func (a *archive) successor(
	store *bucket.Bucket, project string, found *restored, out io.Writer, log *slog.Logger,
) (handover.Data, error) {
	certificateData, err := a.certificates.data(store, project, out, log)
	certificateData.Note = func(result certificates.Result) { found.certificates = result }
	historyData := a.history.successor(store, project, out, log)
	historyData.Note = func(result history.Result) { found.history, found.done = result, true }
	return handover.Multi{certificateData, historyData}, err
}
