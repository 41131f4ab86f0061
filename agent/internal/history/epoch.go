package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"immutable-infra/agent/internal/bucket"
	"immutable-infra/agent/internal/handover"
)

const (
	// claimLimit exceeds the size of any claim, in bytes.
	claimLimit = 4 << 10
	// claimAttempts bounds how often another server may win the race.
	claimAttempts = 5
)

var (
	// errNotRestored protects a history that this server has not read.
	errNotRestored = errors.New("the bucket already holds a history; replace this server so that the next one restores it")
	// errFenced is the error of a server that has lost the right to write.
	errFenced = errors.New("this server may not back up")
)

// claim is the record of an epoch: from then on its server is the only one that writes, until
// another server claims the next epoch.
type claim struct {
	Server  string    `json:"server"`
	Claimed time.Time `json:"claimed"`
}

// fence checks that this server is still the one that writes, and that its uploads still exist, so that it can
// continue with the next manifest of its epoch.
func (u *upload) fence(ctx context.Context) error {
	if u.state.Epoch == 0 {
		return u.claim(ctx)
	}
	own, exists, err := u.readClaim(ctx, u.state.Epoch)
	if err != nil {
		return err
	}
	if !exists {
		return u.startOver(ctx, epochKey(u.state.Epoch))
	}
	next, succeeded, err := u.readClaim(ctx, u.state.Epoch+1)
	if err != nil {
		return err
	}
	if succeeded || own.Server != u.Server {
		u.Log.Warn("the epoch of this server is over", "epoch", u.state.Epoch, "successor", next.Server)
		return u.claim(ctx)
	}
	if u.state.Manifest == 0 {
		return nil
	}
	key := manifestKey(u.state.Epoch, u.state.Manifest)
	_, err = read(ctx, u.Store, key, manifestLimit)
	if missingOrUnreadable(err) {
		return u.startOver(ctx, key)
	}
	return err
}

// startOver makes this run upload everything again, because the bucket was emptied.
func (u *upload) startOver(ctx context.Context, missing string) error {
	u.state.Lost++
	u.Log.Warn("the backup of this server is missing from the bucket: uploading all of it again", "missing", missing)
	u.state.forget()
	return u.claim(ctx)
}

// claim begins the next epoch, which only the server that holds the VIP may do, and checks that all
// recorded uploads exist.
func (u *upload) claim(ctx context.Context) error {
	text, err := json.Marshal(claim{Server: u.Server, Claimed: time.Now().UTC()})
	if err != nil {
		return fmt.Errorf("cannot claim an epoch: %w", err)
	}
	for range claimAttempts {
		// The order matters: if another server claims between the listing and this claim, this claim fails. A
		// successful claim is therefore that of a server that held the VIP while no later server had claimed.
		highest, found, err := u.highest(ctx)
		if err != nil {
			return fmt.Errorf("cannot claim an epoch: %w", err)
		}
		if found && !u.state.Prepared {
			return errNotRestored
		}
		if err := u.checkHolder(ctx); err != nil {
			return err
		}
		claimed, err := u.putClaim(ctx, highest+1, text)
		if err != nil {
			return fmt.Errorf("cannot claim an epoch: %w", err)
		}
		if !claimed {
			continue
		}
		u.Log.Info("backing up the history: claimed an epoch", "epoch", highest+1)
		u.state.Prepared, u.state.Epoch, u.state.Sequence, u.state.Manifest = true, highest+1, 0, 0
		if err := u.save(); err != nil {
			return err
		}
		_, err = u.verify(ctx)
		return err
	}
	return fmt.Errorf("cannot claim an epoch: lost the race %d times", claimAttempts)
}

// maxGap is how many epochs may be missing between two existing ones. Each server claims one; an
// epoch further ahead was made up, and would leave no numbers for later ones.
const maxGap = 1_000_000

// highestEpoch returns the highest epoch in these listings that a server can have claimed, or 0 if there is none.
func highestEpoch(listings ...bucket.Listing) uint64 {
	var epochs []uint64
	for _, listing := range listings {
		for _, entry := range listing.Objects {
			if epoch, ok := epochOf(entry.Key); ok {
				epochs = append(epochs, epoch)
			}
			if epoch, _, ok := manifestOf(entry.Key); ok {
				epochs = append(epochs, epoch)
			}
		}
	}
	slices.Sort(epochs)
	var highest uint64
	for _, epoch := range epochs {
		if epoch-highest > maxGap {
			break
		}
		highest = epoch
	}
	return highest
}

// highest returns the highest epoch that was ever claimed, or 0 if there is none. found reports whether any object
// suggests a claim.
func (u *upload) highest(ctx context.Context) (highest uint64, found bool, err error) {
	var listings []bucket.Listing
	for _, prefix := range []string{epochRoot, manifestRoot} {
		listing, err := list(ctx, u.Store, prefix)
		if err != nil {
			return 0, false, err
		}
		found = found || len(listing.Objects) > 0
		listings = append(listings, listing)
	}
	return highestEpoch(listings...), found, nil
}

// checkHolder returns an error unless this server holds the VIP.
func (u *upload) checkHolder(ctx context.Context) error {
	holder, err := handover.ReadHolder(ctx, u.Store)
	switch {
	case errors.Is(err, bucket.ErrNotFound):
		return fmt.Errorf("%w: %s does not name the server that holds the VIP yet", errFenced, handover.HolderKey)
	case err != nil:
		return fmt.Errorf("cannot read which server holds the VIP: %w", bucket.WithAdvice(err))
	case holder.Server != u.Server:
		return fmt.Errorf("%w: %s has taken over", errFenced, holder.Server)
	default:
		return nil
	}
}

// putClaim writes the claim of an epoch. It reports whether the epoch belongs to this server, even
// if the response to a first attempt was lost.
func (u *upload) putClaim(ctx context.Context, epoch uint64, text []byte) (claimed bool, err error) {
	putting, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	err = u.Store.PutNew(putting, epochKey(epoch), text, jsonType)
	if err == nil {
		u.count(int64(len(text)))
		return true, nil
	}
	if !errors.Is(err, bucket.ErrExists) {
		return false, bucket.WithAdvice(err)
	}
	existing, err := read(ctx, u.Store, epochKey(epoch), claimLimit)
	if missingOrUnreadable(err) {
		return false, nil
	}
	return string(existing) == string(text), err
}

// readClaim reads which server owns an epoch.
func (u *upload) readClaim(ctx context.Context, epoch uint64) (owner claim, exists bool, err error) {
	text, err := read(ctx, u.Store, epochKey(epoch), claimLimit)
	if errors.Is(err, bucket.ErrNotFound) {
		return claim{}, false, nil
	}
	if err != nil && !errors.Is(err, bucket.ErrUnreadable) {
		return claim{}, false, fmt.Errorf("cannot read the claim of epoch %d: %w", epoch, err)
	}
	return parseClaim(text), true, nil
}

// parseClaim parses a claim. An invalid one belongs to no server.
func parseClaim(text []byte) (owner claim) {
	if err := json.Unmarshal(text, &owner); err != nil || !handover.IsName(owner.Server) {
		return claim{}
	}
	return owner
}
