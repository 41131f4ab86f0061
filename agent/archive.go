package main

import (
	"flag"
	"io"
	"log/slog"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/certificates"
	"immutable-infra/agent/internal/handover"
	"immutable-infra/agent/internal/history"
)

// archive is the flags by which a verb finds all that outlives a server, here and in the
// backup bucket.
type archive struct {
	bucket  backupBucket
	names   siteCertificates
	history siteHistory
}

func archiveFlags(flags *flag.FlagSet) archive {
	return archive{bucket: backupFlags(flags), names: certificateFlags(flags), history: historyFlags(flags)}
}

// complete fills in what the flags leave to the server's environment, which it returns.
func (a archive) complete(flags *flag.FlagSet) (environment map[string]string, err error) {
	environment, err = a.bucket.complete(flags)
	if err != nil {
		return nil, err
	}
	if err := a.names.complete(flags, environment); err != nil {
		return nil, err
	}
	return environment, a.history.complete(flags, environment)
}

// old is all of it as a handover sees it on a server that has the VIP, which never
// restores. Root waits in dir for it to have Prometheus stopped.
func (a archive) old(store *bucket.Bucket, server, dir string, log *slog.Logger) (handover.Data, error) {
	certificates, err := a.names.data(store, "", io.Discard, log)
	return handover.Multi{certificates, a.history.old(store, server, dir, log)}, err
}

// restored is what a restore found.
type restored struct {
	certificates certificates.Result
	history      history.Result
	// done is whether the history was restored.
	done bool
}

// successor is all of it as a handover sees it on a new server. What it restores is noted in found.
func (a archive) successor(store *bucket.Bucket, project string, found *restored, out io.Writer, log *slog.Logger) (handover.Data, error) {
	ofCertificates, err := a.names.data(store, project, out, log)
	ofCertificates.Note = func(result certificates.Result) { found.certificates = result }
	ofHistory := a.history.successor(store, project, out, log)
	ofHistory.Note = func(result history.Result) { found.history, found.done = result, true }
	return handover.Multi{ofCertificates, ofHistory}, err
}

// holderFlag is the flag by which verbs find out whether this server has the VIP.
func holderFlag(flags *flag.FlagSet) *string {
	return flags.String("holder-file", holderPath, "`file` that is there while this server has the VIP")
}
