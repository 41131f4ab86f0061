// Package history backs up the samples of a server's Prometheus to the backup bucket, and restores
// them on the next server.
//
// Each minute the server that holds the VIP uploads new data: the bytes that were appended to
// segments of the write-ahead log (WAL), each complete checkpoint and each new block once, and
// finally a manifest that names all of them. It reads the WAL before the blocks, so that samples
// that Prometheus moves from one to the other meanwhile are in both, never in neither.
//
// No object in the bucket is overwritten by another one: each key names its writer or its content. A writer is an
// epoch. The servers that hold the VIP claim epochs one after the other, and a restore uses the newest manifest of
// the highest epoch. A replaced server therefore cannot undo its successor's backups, whatever it does. No
// decision depends on the clock of a server: epoch and sequence define the order, and the bucket's clock the age.
package history

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"immutable-infra/agent/internal/bucket"
)

// The prefixes of the keys.
const (
	root          = "history/"
	epochRoot     = root + "epochs/"
	manifestRoot  = root + "manifests/"
	walRoot       = root + "wal/"
	chkptRoot     = root + "checkpoints/"
	blockRoot     = root + "blocks/"
	catalogueRoot = root + "catalogues/"
)

const (
	jsonType = "application/json"
	// requestTimeout bounds a small request to the bucket, including its retries; readTimeout bounds a larger one,
	// or several.
	requestTimeout = 20 * time.Second
	readTimeout    = time.Minute
	// minRate is the minimum average rate of a transfer, in bytes per second.
	minRate = 32 << 10
	// parallel is how many small requests run at a time.
	parallel = 8
)

func epochKey(epoch uint64) string { return fmt.Sprintf("%s%08d.json", epochRoot, epoch) }

func manifestKey(epoch, sequence uint64) string {
	return fmt.Sprintf("%s%08d/%08d.json", manifestRoot, epoch, sequence)
}

func catalogueKey(sum string) string { return catalogueRoot + sum + ".json" }

func epochOf(key string) (epoch uint64, ok bool) {
	return number(strings.TrimSuffix(strings.TrimPrefix(key, epochRoot), ".json"))
}

func manifestOf(key string) (epoch, sequence uint64, ok bool) {
	first, second, _ := strings.Cut(strings.TrimSuffix(strings.TrimPrefix(key, manifestRoot), ".json"), "/")
	epoch, ok = number(first)
	sequence, also := number(second)
	return epoch, sequence, ok && also
}

// number parses a number of at least eight digits in its only valid form.
func number(text string) (uint64, bool) {
	if len(text) < 8 || len(text) > 8 && text[0] == '0' || strings.Trim(text, "0123456789") != "" {
		return 0, false
	}
	value, err := strconv.ParseUint(text, 10, 64)
	return value, err == nil
}

func transferTimeout(bytes int64) time.Duration {
	return requestTimeout + time.Duration(bytes/minRate)*time.Second
}

// read reads a whole object of at most limit bytes.
func read(ctx context.Context, store *bucket.Bucket, key string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	content, _, err := store.Read(ctx, key, "", limit)
	return content, bucket.WithAdvice(err)
}

func list(ctx context.Context, store *bucket.Bucket, prefix string) (bucket.Listing, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	listing, err := store.List(ctx, prefix)
	return listing, bucket.WithAdvice(err)
}
