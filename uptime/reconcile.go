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
	// appearChecks is how often a list is checked for a resource whose creation may have succeeded, with exponential
	// backoff: about 15 s in total.
	appearChecks = 6
	// createAttempts bounds the attempts at a creation that created no resource.
	createAttempts = 3
	// recheckDelay is the time after which a difference is checked again. A list may be some seconds out of date.
	recheckDelay = 3 * time.Second
)

// wanted is the desired state of a resource.
type wanted[T resource] struct {
	noun, path, name string
	// request is the body of requests that create or change the resource.
	request any
	// differs describes how the actual state differs.
	differs func(actual T) []string
}

func (w wanted[T]) String() string { return fmt.Sprintf("%s %q", w.noun, w.name) }

// inventory is the part of an account that can belong to a stack.
type inventory struct {
	monitors     []monitor
	integrations []integration
	pages        []page
}

// inventory lists the kinds of resources that are desired or were created. It does not request others, because the plan
// may not include them.
func (c *Client) inventory(ctx context.Context, desired Desired, created IDs) (f inventory, err error) {
	if f.monitors, err = list[monitor](ctx, c, monitorsPath); err != nil {
		return f, withHint(fmt.Errorf("cannot list the monitors: %w", err))
	}
	if desired.Contact != "" || created.Contact != 0 {
		if f.integrations, err = list[integration](ctx, c, integrationsPath); err != nil {
			return f, withHint(fmt.Errorf("cannot list the web-hooks: %w", err))
		}
	}
	if desired.Page != nil || created.Page != 0 {
		if f.pages, err = list[page](ctx, c, pagesPath); err != nil {
			return f, withHint(fmt.Errorf("cannot list the status pages: %w", err))
		}
	}
	return f, nil
}

// Apply brings the account to the desired state, and deletes resources that it created before and that are no longer
// desired. It can be repeated after any failure: it finds existing resources by id or name. It returns the ids of the
// resources that exist, even if it fails.
func (c *Client) Apply(ctx context.Context, desired Desired, before IDs) (IDs, error) {
	created := IDs{Contact: before.Contact, Monitors: map[string]int64{}, Page: before.Page}
	for key, id := range before.Monitors {
		created.Monitors[key] = id
	}
	actual, err := c.inventory(ctx, desired, before)
	if err != nil {
		return created, err
	}
	var contact int64
	if desired.Contact != "" {
		want, err := wantedContact(desired.Contact, c.account.Webhook)
		if err != nil {
			return created, err
		}
		if contact, err = ensure(ctx, c, want, actual.integrations, before.Contact); err != nil {
			return created, err
		}
		created.Contact = contact
	}
	monitorIDs := map[string]int64{}
	for _, m := range desired.Monitors {
		id, err := ensure(ctx, c, wantedMonitor(m, contact), actual.monitors, before.Monitors[m.Key])
		if err != nil {
			return created, err
		}
		created.Monitors[m.Key], monitorIDs[m.Key] = id, id
	}
	if desired.Page != nil {
		if created.Page, err = ensure(ctx, c, wantedPage(*desired.Page, monitorIDs), actual.pages, before.Page); err != nil {
			return created, err
		}
	}
	return c.removeOthers(ctx, desired, created)
}

// removeOthers deletes resources that were created before and are not desired.
func (c *Client) removeOthers(ctx context.Context, desired Desired, created IDs) (IDs, error) {
	if desired.Page == nil && created.Page != 0 {
		if err := c.remove(ctx, "status page", pagesPath, created.Page); err != nil {
			return created, err
		}
		created.Page = 0
	}
	for key, id := range created.Monitors {
		if desired.wantsMonitor(key) {
			continue
		}
		if err := c.remove(ctx, "monitor", monitorsPath, id); err != nil {
			return created, err
		}
		delete(created.Monitors, key)
	}
	if desired.Contact == "" && created.Contact != 0 {
		if err := c.remove(ctx, "web-hook", integrationsPath, created.Contact); err != nil {
			return created, err
		}
		created.Contact = 0
	}
	return created, nil
}

// Delete deletes the resources that were created, and those with a desired name. Resources that no longer exist are
// not an error.
func (c *Client) Delete(ctx context.Context, desired Desired, created IDs) error {
	actual, err := c.inventory(ctx, desired, created)
	if err != nil {
		return err
	}
	var pages, monitors, contacts []int64
	if desired.Page != nil || created.Page != 0 {
		pages = owned(actual.pages, created.Page, pageName(desired))
	}
	for _, m := range desired.Monitors {
		monitors = append(monitors, owned(actual.monitors, created.Monitors[m.Key], m.Name)...)
	}
	for _, id := range created.Monitors {
		if !slices.Contains(monitors, id) {
			monitors = append(monitors, id)
		}
	}
	contacts = owned(actual.integrations, created.Contact, desired.Contact)
	// Delete resources before those that they refer to.
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

// owned returns the id of a resource of the stack: that of the created one, or else of the one with the name.
func owned[T resource](listed []T, created int64, name string) []int64 {
	if created != 0 {
		return []int64{created}
	}
	if actual, ok := named(listed, name); ok {
		return []int64{actual.id()}
	}
	return nil
}

// named returns the oldest resource with a name. Several resources of an account may have the same name.
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

// remove deletes a resource, which may no longer exist.
func (c *Client) remove(ctx context.Context, noun, path string, id int64) error {
	err := c.call(ctx, http.MethodDelete, fmt.Sprintf("%s/%d", path, id), nil, nil)
	if status := statusOf(err); err != nil && status != http.StatusNotFound && status != http.StatusGone {
		return withHint(fmt.Errorf("cannot delete %s %d: %w", noun, id, err))
	}
	c.log(fmt.Sprintf("deleted %s %d", noun, id))
	return nil
}

// ensure brings a resource to its desired state and returns its id. known is its previous id, or 0.
func ensure[T resource](ctx context.Context, c *Client, want wanted[T], listed []T, known int64) (int64, error) {
	actual, ok, err := find(ctx, c, want, listed, known)
	if err != nil {
		return 0, err
	}
	if !ok {
		var current bool
		if actual, current, err = create(ctx, c, want); err != nil {
			return 0, err
		}
		if current {
			return actual.id(), nil
		}
	}
	differs := want.differs(actual)
	if len(differs) == 0 {
		return actual.id(), nil
	}
	if err := c.call(ctx, http.MethodPatch, fmt.Sprintf("%s/%d", want.path, actual.id()), want.request, nil); err != nil {
		return 0, withHint(fmt.Errorf("cannot change %s: %w", want, err))
	}
	c.log(fmt.Sprintf("corrected drift of %s: %s", want, strings.Join(differs, ", ")))
	return actual.id(), nil
}

// find finds a resource by its id, or else by its name.
func find[T resource](
	ctx context.Context, c *Client, want wanted[T], listed []T, known int64,
) (actual T, ok bool, err error) {
	if known != 0 {
		if i := slices.IndexFunc(listed, func(each T) bool { return each.id() == known }); i >= 0 {
			return listed[i], true, nil
		}
		// The list may be out of date; this request is not.
		err := c.call(ctx, http.MethodGet, fmt.Sprintf("%s/%d", want.path, known), nil, &actual)
		if err == nil {
			return actual, true, nil
		}
		if status := statusOf(err); status != http.StatusNotFound && status != http.StatusGone {
			return actual, false, withHint(fmt.Errorf("cannot read %s: %w", want, err))
		}
		c.log(fmt.Sprintf("%s no longer exists", want))
	}
	actual, ok = named(listed, want.name)
	return actual, ok, nil
}

// create creates a resource. current is true if the result is certain to be in the desired state.
//
// If the outcome of a creation is unknown, create waits for the resource to appear, and retries only if it does not.
func create[T resource](ctx context.Context, c *Client, want wanted[T]) (actual T, current bool, err error) {
	for range createAttempts {
		err = c.call(ctx, http.MethodPost, want.path, want.request, &actual)
		if err == nil && actual.id() != 0 {
			c.log(fmt.Sprintf("created %s", want))
			return actual, true, nil
		}
		if err == nil {
			err = &lostError{fmt.Errorf("POST %s: %w: it has no id", want.path, errBroken)}
		}
		if !outcomeUnknown(err) {
			break
		}
		c.log(fmt.Sprintf("cannot create %s: %v; checking whether it exists nevertheless", want, err))
		actual, ok, checkErr := awaitAppearance(ctx, c, want)
		if checkErr != nil {
			return actual, false, fmt.Errorf("cannot create %s: %w; cannot check whether it exists nevertheless: %w", want, err,
				checkErr)
		}
		if ok {
			c.log(fmt.Sprintf("%s exists", want))
			return actual, false, nil
		}
		if statusOf(err) == http.StatusConflict {
			break
		}
	}
	return actual, false, withHint(fmt.Errorf("cannot create %s: %w", want, err))
}

// awaitAppearance waits until a resource with the name is in the list, or until it should have appeared.
func awaitAppearance[T resource](ctx context.Context, c *Client, want wanted[T]) (actual T, ok bool, err error) {
	wait := firstPause
	for check := range appearChecks {
		if check > 0 {
			if err := c.pause(ctx, wait); err != nil {
				return actual, false, err
			}
			wait *= 2
		}
		listed, err := list[T](ctx, c, want.path)
		if err != nil {
			return actual, false, err
		}
		if actual, ok = named(listed, want.name); ok {
			return actual, true, nil
		}
	}
	return actual, false, nil
}

// Drift describes how the account differs from the desired state. It changes nothing.
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

// differences returns the differences that a single check finds. nothing is true if all resources are missing, as
// before the first creation: lists that are out of date cannot be the reason then.
func (c *Client) differences(ctx context.Context, desired Desired) (drift []string, nothing bool, err error) {
	actual, err := c.inventory(ctx, desired, IDs{})
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
		at, ok := named(actual.integrations, want.name)
		contact = at.id()
		compare(want.noun, want.name, ok, func() []string { return want.differs(at) })
	}
	monitorIDs := map[string]int64{}
	for _, m := range desired.Monitors {
		want := wantedMonitor(m, contact)
		at, ok := named(actual.monitors, want.name)
		if ok {
			monitorIDs[m.Key] = at.id()
		}
		compare(want.noun, want.name, ok, func() []string { return want.differs(at) })
	}
	if desired.Page != nil {
		want := wantedPage(*desired.Page, monitorIDs)
		at, ok := named(actual.pages, want.name)
		compare(want.noun, want.name, ok, func() []string { return want.differs(at) })
	}
	return drift, nothing, nil
}
