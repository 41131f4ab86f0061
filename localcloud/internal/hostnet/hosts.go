package hostnet

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"immutable-infra/localcloud/internal/dns"
	"immutable-infra/localcloud/internal/run"
)

const (
	// beginNames and endNames mark the lines of localcloud in the hosts file. The
	// first continues with the home that they belong to.
	beginNames = "# BEGIN localcloud, until `make down`, of "
	endNames   = "# END localcloud\n"
	// newlineAdded begins the block in a file whose last line did not end before.
	newlineAdded = "\n# The line above had no end.\n"
)

// WriteNames makes names known on this machine, and forgets those from before. While this home does
// not have the network, it does nothing: the names would lead nowhere.
func (h *Host) WriteNames(hosts []dns.Host) error {
	if owned, err := h.owned(); err != nil || !owned {
		return err
	}
	// A block of another home is left from before the machine was restarted.
	return h.changeHosts(func(original []byte, _ string) []byte { return appendNames(original, h.home.String(), hosts) })
}

// removeNames takes out the names of this home.
func (h *Host) removeNames() error {
	return h.changeHosts(func(original []byte, owner string) []byte {
		if owner != h.home.String() {
			return nil
		}
		return original
	})
}

// changeHosts writes the hosts file in place, with what change makes of it without the block of
// names and of the block's owner; nil leaves it alone. In place, since in a container another file may
// not take its name. The content is overwritten before it is truncated, so that no reader sees an
// empty file.
func (h *Host) changeHosts(change func(original []byte, owner string) []byte) (err error) {
	defer run.Wrap(&err, "names of this machine: %s", h.hosts)
	current, err := os.ReadFile(h.hosts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	original, owner, err := cutNames(current)
	if err != nil {
		return err
	}
	if content := change(original, owner); content != nil && !bytes.Equal(current, content) {
		return overwrite(h.hosts, content)
	}
	return nil
}

func appendNames(content []byte, owner string, hosts []dns.Host) []byte {
	var text bytes.Buffer
	text.Write(content)
	if len(content) > 0 && !bytes.HasSuffix(content, []byte("\n")) {
		text.WriteString(newlineAdded)
	}
	fmt.Fprintf(&text, "%s%s\n", beginNames, owner)
	for _, host := range hosts {
		fmt.Fprintf(&text, "%s\t%s\n", host.Address, host.Name)
	}
	text.WriteString(endNames)
	return text.Bytes()
}

// cutNames is the content of a hosts file as it was before appendNames, and the
// home of the block that was in it, or "".
func cutNames(content []byte) (original []byte, owner string, err error) {
	text := string(content)
	begin := strings.Index("\n"+text, "\n"+beginNames) // where the line begins in text
	if begin < 0 {
		return content, "", nil
	}
	before, block := text[:begin], text[begin:]
	end := strings.Index(block, "\n"+endNames)
	if end < 0 {
		return nil, "", fmt.Errorf("the line %q is missing: take out the lines of localcloud by hand",
			strings.TrimSuffix(endNames, "\n"))
	}
	after := block[end+len("\n"+endNames):]
	first, _, _ := strings.Cut(block, "\n")
	if cut, added := strings.CutSuffix(before, newlineAdded); added {
		before = cut
		if after != "" {
			before += "\n" // a line of the user follows
		}
	}
	return []byte(before + after), strings.TrimPrefix(first, beginNames), nil
}

func overwrite(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteAt(content, 0)
	if err == nil {
		err = file.Truncate(int64(len(content)))
	}
	return errors.Join(err, file.Close())
}
