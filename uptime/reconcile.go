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
	// settles is how often a list is looked at for something that may have been
	// made, with longer and longer pauses between: about 15 seconds together.
	settles = 6
	// creations is how often a creation is tried that left nothing behind.
	creations = 3
	// secondLook is the time between two looks at something that differs. A list
	// may be some seconds behind.
	secondLook = 3 * time.Second
)

// wanted is something as it should be.
type wanted[T thing] struct {
	noun, path, name string
	// request is what makes it so, in a creation and in a change.
	request any
	// differs says, in words, how what is there is not so.
	differs func(there T) []string
}

func (w wanted[T]) String() string { return fmt.Sprintf("%s %q", w.noun, w.name) }

// found is what an account has, as far as it can be a stack's.
type found struct {
	monitors     []monitor
	integrations []integration
	pages        []page
}

// look reads the lists of what is desired or was made. Of the rest not even the
// list is asked for: the plan may not have it.
func (c *Client) look(ctx context.Context, desired Desired, made Made) (f found, err error) {
	if f.monitors, err = list[monitor](ctx, c, monitorsPath); err != nil {
		return f, advise(fmt.Errorf("list the monitors: %w", err))
	}
	if desired.Contact != "" || made.Contact != 0 {
		if f.integrations, err = list[integration](ctx, c, integrationsPath); err != nil {
			return f, advise(fmt.Errorf("list the web-hooks: %w", err))
		}
	}
	if desired.Page != nil || made.Page != 0 {
		if f.pages, err = list[page](ctx, c, pagesPath); err != nil {
			return f, advise(fmt.Errorf("list the status pages: %w", err))
		}
	}
	return f, nil
}

// Apply makes everything as desired, and takes away what was made and is desired
// no more. It may be repeated after any failure: what is there is found again, by
// its id or by its name. The result has what is there, also beside an error.
func (c *Client) Apply(ctx context.Context, desired Desired, before Made) (Made, error) {
	made := Made{Contact: before.Contact, Monitors: map[string]int64{}, Page: before.Page}
	for key, id := range before.Monitors {
		made.Monitors[key] = id
	}
	there, err := c.look(ctx, desired, before)
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

// removeOthers deletes what was made and is not desired.
func (c *Client) removeOthers(ctx context.Context, desired Desired, made Made) (Made, error) {
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

// Delete takes away all that was made, and what has a desired name. What is gone
// already is no error.
func (c *Client) Delete(ctx context.Context, desired Desired, made Made) error {
	there, err := c.look(ctx, desired, made)
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
	// What refers to others goes before them.
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

// owned is what is a stack's: what it made, and else what has its name.
func owned[T thing](listed []T, made int64, name string) []int64 {
	if made != 0 {
		return []int64{made}
	}
	if there, ok := named(listed, name); ok {
		return []int64{there.id()}
	}
	return nil
}

// named finds the oldest thing with a name. Things of an account may share one.
func named[T thing](listed []T, name string) (T, bool) {
	var oldest T
	ok := false
	for _, each := range listed {
		if name != "" && each.name() == name && (!ok || each.id() < oldest.id()) {
			oldest, ok = each, true
		}
	}
	return oldest, ok
}

// remove deletes something that may be gone already.
func (c *Client) remove(ctx context.Context, noun, path string, id int64) error {
	err := c.call(ctx, http.MethodDelete, fmt.Sprintf("%s/%d", path, id), nil, nil)
	if status := statusOf(err); err != nil && status != http.StatusNotFound && status != http.StatusGone {
		return advise(fmt.Errorf("delete %s %d: %w", noun, id, err))
	}
	c.log(fmt.Sprintf("deleted %s %d", noun, id))
	return nil
}

// ensure makes something as it should be, and returns its id. known is the id that
// it had, or 0.
func ensure[T thing](ctx context.Context, c *Client, want wanted[T], listed []T, known int64) (int64, error) {
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
		return 0, advise(fmt.Errorf("change %s: %w", want, err))
	}
	c.log(fmt.Sprintf("changed %s, which was not as it should be: %s", want, strings.Join(differs, ", ")))
	return there.id(), nil
}

// find looks for something, by its id and else by its name.
func find[T thing](ctx context.Context, c *Client, want wanted[T], listed []T, known int64) (there T, ok bool, err error) {
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
			return there, false, advise(fmt.Errorf("look at %s: %w", want, err))
		}
		c.log(fmt.Sprintf("%s is gone", want))
	}
	there, ok = named(listed, want.name)
	return there, ok, nil
}

// create makes something. What it returns is as wanted if it is sure.
//
// When it is not known whether a creation was carried out, it looks for what it
// may have made, and only makes it again when that does not appear.
func create[T thing](ctx context.Context, c *Client, want wanted[T]) (there T, sure bool, err error) {
	for range creations {
		err = c.call(ctx, http.MethodPost, want.path, want.request, &there)
		if err == nil && there.id() != 0 {
			c.log(fmt.Sprintf("created %s", want))
			return there, true, nil
		}
		if err == nil {
			err = &lostError{fmt.Errorf("POST %s: %w: it has no id", want.path, errBroken)}
		}
		if !maybeMade(err) {
			break
		}
		c.log(fmt.Sprintf("create %s: %v: looking whether it is there all the same", want, err))
		there, ok, lookErr := appears(ctx, c, want)
		if lookErr != nil {
			return there, false, fmt.Errorf("create %s: %w; and whether it is there all the same is not known, because: %w", want, err, lookErr)
		}
		if ok {
			c.log(fmt.Sprintf("%s is there", want))
			return there, false, nil
		}
		if statusOf(err) == http.StatusConflict {
			break
		}
	}
	return there, false, advise(fmt.Errorf("create %s: %w", want, err))
}

// appears looks for something by its name until it is in the list, or for so long
// that it would be by now.
func appears[T thing](ctx context.Context, c *Client, want wanted[T]) (there T, ok bool, err error) {
	wait := firstPause
	for look := range settles {
		if look > 0 {
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
	if err := c.pause(ctx, secondLook); err != nil {
		return nil, err
	}
	second, _, err := c.differences(ctx, desired)
	return slices.DeleteFunc(second, func(difference string) bool { return !slices.Contains(first, difference) }), err
}

// differences are those of one look. nothing says that all is missing, as before
// the first creation, which no list can be behind of.
func (c *Client) differences(ctx context.Context, desired Desired) (told []string, nothing bool, err error) {
	there, err := c.look(ctx, desired, Made{})
	if err != nil {
		return nil, false, err
	}
	nothing = true
	tell := func(format string, args ...any) { told = append(told, c.secrets.redact(fmt.Sprintf(format, args...))) }
	compare := func(noun, name string, ok bool, differs func() []string) {
		if !ok {
			tell("there is no %s %q", noun, name)
			return
		}
		nothing = false
		if d := differs(); len(d) > 0 {
			tell("%s %q: %s", noun, name, strings.Join(d, ", "))
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
	return told, nothing, nil
}
