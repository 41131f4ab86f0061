package uptime

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// appearChecks is how often a list is read for a resource whose creation may have succeeded, with exponential
	// backoff: about 15 s in all.
	appearChecks = 6
	// creations bounds the attempts at a creation that left nothing behind.
	creations = 3
	// recheckDelay is the time between two checks of a resource that differs. A list may be some seconds behind.
	recheckDelay = 3 * time.Second
)

// wanted is the desired state of a resource.
type wanted[T resource] struct {
	noun, path, name string
	// request is the body of a creation and of a change.
	request any
	// differs describes how the actual state differs.
	differs func(there T) []string
}

func (w wanted[T]) String() string { return fmt.Sprintf("%s %q", w.noun, w.name) }

// inventory is the part of an account that can belong to a stack.
type inventory struct {
	monitors     []monitor
	integrations []integration
	pages        []page
}

// inventory lists the kinds of resources that are desired or were created. Others are not requested: the plan may not
// have them.
func (c *Client) inventory(ctx context.Context, desired Desired, made IDs) (f inventory, err error) {
	if f.monitors, err = list[monitor](ctx, c, monitorsPath); err != nil {
		return f, withHint(fmt.Errorf("cannot list the monitors: %w", err))
	}
	if desired.Contact != "" || made.Contact != 0 {
		if f.integrations, err = list[integration](ctx, c, integrationsPath); err != nil {
			return f, withHint(fmt.Errorf("cannot list the web-hooks: %w", err))
		}
	}
	if desired.Page != nil || made.Page != 0 {
		if f.pages, err = list[page](ctx, c, pagesPath); err != nil {
			return f, withHint(fmt.Errorf("cannot list the status pages: %w", err))
		}
	}
	return f, nil
}

// Apply brings the account to the desired state, and deletes what was created before and is not desired any more. It
// may be repeated after any failure: it finds existing resources by id or name. The result has the ids of those that
// exist, also beside an error.
func (c *Client) Apply(ctx context.Context, desired Desired, before IDs) (IDs, error) {
	made := IDs{Contact: before.Contact, Monitors: map[string]int64{}, Page: before.Page}
	for key, id := range before.Monitors {
		made.Monitors[key] = id
	}
	there, err := c.inventory(ctx, desired, before)
	if err != nil {
		return made, err
	}
	var contact int64
	if desired.Contact != "" {
		want, err := wantedContact(desired.Contact, c.account.Webhook)
		if err != nil {
			return made, err
		}
		if contact, err = ensure(ctx, c, want, there.integrations, before.Contact); err != nil {
			return made, err
		}
		made.Contact = contact
	}
	shown := map[string]int64{}
	for _, m := range desired.Monitors {
		id, err := ensure(ctx, c, wantedMonitor(m, contact), there.monitors, before.Monitors[m.Key])
		if err != nil {
			return made, err
		}
		made.Monitors[m.Key], shown[m.Key] = id, id
	}
	if desired.Page != nil {
		if made.Page, err = ensure(ctx, c, wantedPage(*desired.Page, shown), there.pages, before.Page); err != nil {
			return made, err
		}
	}
	return c.removeOthers(ctx, desired, made)
}

// removeOthers deletes resources that were created and are not desired.
func (c *Client) removeOthers(ctx context.Context, desired Desired, made IDs) (IDs, error) {
	if desired.Page == nil && made.Page != 0 {
		if err := c.remove(ctx, "status page", pagesPath, made.Page); err != nil {
			return made, err
		}
		made.Page = 0
	}
	for key, id := range made.Monitors {
		if desired.wantsMonitor(key) {
			continue
		}
		if err := c.remove(ctx, "monitor", monitorsPath, id); err != nil {
			return made, err
		}
		delete(made.Monitors, key)
	}
	if desired.Contact == "" && made.Contact != 0 {
		if err := c.remove(ctx, "web-hook", integrationsPath, made.Contact); err != nil {
			return made, err
		}
		made.Contact = 0
	}
	return made, nil
}

// Delete deletes the resources that were created, and those with a desired name. One that is gone already is no error.
func (c *Client) Delete(ctx context.Context, desired Desired, made IDs) error {
	there, err := c.inventory(ctx, desired, made)
	if err != nil {
		return err
	}
	var pages, monitors, contacts []int64
	if desired.Page != nil || made.Page != 0 {
		pages = owned(there.pages, made.Page, pageName(desired))
	}
	for _, m := range desired.Monitors {
		monitors = append(monitors, owned(there.monitors, made.Monitors[m.Key], m.Name)...)
	}
	for _, id := range made.Monitors {
		if !slices.Contains(monitors, id) {
			monitors = append(monitors, id)
		}
	}
	contacts = owned(there.integrations, made.Contact, desired.Contact)
	// Resources that refer to others go before them.
	for _, kind := range []struct {
		noun, path string
		ids        []int64
	}{{"status page", pagesPath, pages}, {"monitor", monitorsPath, monitors}, {"web-hook", integrationsPath, contacts}} {
		for _, id := range kind.ids {
			if err := c.remove(ctx, kind.noun, kind.path, id); err != nil {
				return err
			}
		}
	}
	return nil
}

func pageName(desired Desired) string {
	if desired.Page == nil {
		return ""
	}
	return desired.Page.Name
}

// owned finds the resource of a stack: the one that it created, else the one with its name.
func owned[T resource](listed []T, made int64, name string) []int64 {
	if made != 0 {
		return []int64{made}
	}
	if there, ok := named(listed, name); ok {
		return []int64{there.id()}
	}
	return nil
}

// named finds the oldest resource with a name. Resources of an account may share one.
func named[T resource](listed []T, name string) (T, bool) {
	var oldest T
	ok := false
	for _, each := range listed {
		if name != "" && each.name() == name && (!ok || each.id() < oldest.id()) {
			oldest, ok = each, true
		}
	}
	return oldest, ok
}

// remove deletes a resource that may be gone already.
func (c *Client) remove(ctx context.Context, noun, path string, id int64) error {
	err := c.call(ctx, http.MethodDelete, fmt.Sprintf("%s/%d", path, id), nil, nil)
	if status := statusOf(err); err != nil && status != http.StatusNotFound && status != http.StatusGone {
		return withHint(fmt.Errorf("cannot delete %s %d: %w", noun, id, err))
	}
	c.log(fmt.Sprintf("deleted %s %d", noun, id))
	return nil
}

// ensure brings a resource to its desired state and returns its id. known is the id that it had, or 0.
func ensure[T resource](ctx context.Context, c *Client, want wanted[T], listed []T, known int64) (int64, error) {
	there, ok, err := find(ctx, c, want, listed, known)
	if err != nil {
		return 0, err
	}
	if !ok {
		var sure bool
		if there, sure, err = create(ctx, c, want); err != nil {
			return 0, err
		}
		if sure {
			return there.id(), nil
		}
	}
	differs := want.differs(there)
	if len(differs) == 0 {
		return there.id(), nil
	}
	if err := c.call(ctx, http.MethodPatch, fmt.Sprintf("%s/%d", want.path, there.id()), want.request, nil); err != nil {
		return 0, withHint(fmt.Errorf("cannot change %s: %w", want, err))
	}
	c.log(fmt.Sprintf("corrected drift of %s: %s", want, strings.Join(differs, ", ")))
	return there.id(), nil
}

// find finds a resource by its id, else by its name.
func find[T resource](
	ctx context.Context, c *Client, want wanted[T], listed []T, known int64,
) (there T, ok bool, err error) {
	if known != 0 {
		if i := slices.IndexFunc(listed, func(each T) bool { return each.id() == known }); i >= 0 {
			return listed[i], true, nil
		}
		// A list may be behind; this is not.
		err := c.call(ctx, http.MethodGet, fmt.Sprintf("%s/%d", want.path, known), nil, &there)
		if err == nil {
			return there, true, nil
		}
		if status := statusOf(err); status != http.StatusNotFound && status != http.StatusGone {
			return there, false, withHint(fmt.Errorf("cannot read %s: %w", want, err))
		}
		c.log(fmt.Sprintf("%s is gone", want))
	}
	there, ok = named(listed, want.name)
	return there, ok, nil
}

// create creates a resource. sure reports that the result is in the desired state.
//
// If the outcome of a creation is unknown, create waits for the resource to appear, and creates it again only if it
// does not.
func create[T resource](ctx context.Context, c *Client, want wanted[T]) (there T, sure bool, err error) {
	for range creations {
		err = c.call(ctx, http.MethodPost, want.path, want.request, &there)
		if err == nil && there.id() != 0 {
			c.log(fmt.Sprintf("created %s", want))
			return there, true, nil
		}
		if err == nil {
			err = &lostError{fmt.Errorf("POST %s: %w: it has no id", want.path, errBroken)}
		}
		if !outcomeUnknown(err) {
			break
		}
		c.log(fmt.Sprintf("cannot create %s: %v; checking whether it exists nevertheless", want, err))
		there, ok, checkErr := appears(ctx, c, want)
		if checkErr != nil {
			return there, false, fmt.Errorf("cannot create %s: %w; cannot check whether it exists nevertheless: %w", want, err,
				checkErr)
		}
		if ok {
			c.log(fmt.Sprintf("%s exists", want))
			return there, false, nil
		}
		if statusOf(err) == http.StatusConflict {
			break
		}
	}
	return there, false, withHint(fmt.Errorf("cannot create %s: %w", want, err))
}

// appears waits until a resource with the name is in the list, or should have been.
func appears[T resource](ctx context.Context, c *Client, want wanted[T]) (there T, ok bool, err error) {
	wait := firstPause
	for check := range appearChecks {
		if check > 0 {
			if err := c.pause(ctx, wait); err != nil {
				return there, false, err
			}
			wait *= 2
		}
		listed, err := list[T](ctx, c, want.path)
		if err != nil {
			return there, false, err
		}
		if there, ok = named(listed, want.name); ok {
			return there, true, nil
		}
	}
	return there, false, nil
}

// Drift describes what differs from desired. It changes nothing.
func (c *Client) Drift(ctx context.Context, desired Desired) ([]string, error) {
	first, nothing, err := c.differences(ctx, desired)
	if err != nil || len(first) == 0 || nothing {
		return first, err
	}
	if err := c.pause(ctx, recheckDelay); err != nil {
		return nil, err
	}
	second, _, err := c.differences(ctx, desired)
	return slices.DeleteFunc(second, func(difference string) bool { return !slices.Contains(first, difference) }), err
}

// differences are those of one check. nothing reports that every resource is missing, as before the first creation:
// then a list that is behind cannot be the reason.
func (c *Client) differences(ctx context.Context, desired Desired) (drift []string, nothing bool, err error) {
	there, err := c.inventory(ctx, desired, IDs{})
	if err != nil {
		return nil, false, err
	}
	nothing = true
	report := func(format string, args ...any) {
		drift = append(drift, c.secrets.redact(fmt.Sprintf(format, args...)))
	}
	compare := func(noun, name string, ok bool, differs func() []string) {
		if !ok {
			report("there is no %s %q", noun, name)
			return
		}
		nothing = false
		if d := differs(); len(d) > 0 {
			report("%s %q: %s", noun, name, strings.Join(d, ", "))
		}
	}
	var contact int64
	if desired.Contact != "" {
		want, err := wantedContact(desired.Contact, c.account.Webhook)
		if err != nil {
			return nil, false, err
		}
		at, ok := named(there.integrations, want.name)
		contact = at.id()
		compare(want.noun, want.name, ok, func() []string { return want.differs(at) })
	}
	shown := map[string]int64{}
	for _, m := range desired.Monitors {
		want := wantedMonitor(m, contact)
		at, ok := named(there.monitors, want.name)
		if ok {
			shown[m.Key] = at.id()
		}
		compare(want.noun, want.name, ok, func() []string { return want.differs(at) })
	}
	if desired.Page != nil {
		want := wantedPage(*desired.Page, shown)
		at, ok := named(there.pages, want.name)
		compare(want.noun, want.name, ok, func() []string { return want.differs(at) })
	}
	return drift, nothing, nil
}
