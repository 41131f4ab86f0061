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
	// beginNames and endNames mark the block of localcloud's lines in the hosts file. The home that owns the block
	// follows beginNames.
	beginNames = "# BEGIN localcloud, until `make down`, of "
	endNames   = "# END localcloud\n"
	// newlineAdded precedes the block in a file whose last line had no trailing newline.
	newlineAdded = "\n# The line above had no end.\n"
)

// WriteNames replaces localcloud's names in the hosts file. It does nothing while this home does not own the
// network, because the addresses would be unreachable.
func (h *Host) WriteNames(hosts []dns.Host) error {
	if owned, err := h.owned(); err != nil || !owned {
		return err
	}
	// Also replace a block of another home, which is left over from before a restart of the machine.
	return h.changeHosts(func(original []byte, _ string) []byte { return appendNames(original, h.home.String(), hosts) })
}

// removeNames removes this home's block.
func (h *Host) removeNames() error {
	return h.changeHosts(func(original []byte, owner string) []byte {
		if owner != h.home.String() {
			return nil
		}
		return original
	})
}

// changeHosts replaces the content of the hosts file with the result of change, unless that is nil. change gets
// the content without the block, and the block's owner, "" without a block. changeHosts writes the file in place,
// because a container's hosts file cannot be replaced by a rename. It overwrites the content before it truncates
// the file, so that no reader sees an empty file.
func (h *Host) changeHosts(change func(original []byte, owner string) []byte) (err error) {
	defer run.Wrap(&err, "cannot update the names in %s", h.hosts)
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

// cutNames returns the content of a hosts file as it was before appendNames, and the home that owns the block, or
// "" if there is no block.
func cutNames(content []byte) (original []byte, owner string, err error) {
	text := string(content)
	begin := strings.Index("\n"+text, "\n"+beginNames) // offset of the line in text
	if begin < 0 {
		return content, "", nil
	}
	before, block := text[:begin], text[begin:]
	end := strings.Index(block, "\n"+endNames)
	if end < 0 {
		return nil, "", fmt.Errorf("the line %q is missing: remove localcloud's lines by hand",
			strings.TrimSuffix(endNames, "\n"))
	}
	after := block[end+len("\n"+endNames):]
	first, _, _ := strings.Cut(block, "\n")
	if cut, added := strings.CutSuffix(before, newlineAdded); added {
		before = cut
		if after != "" {
			before += "\n" // because one of the user's lines follows
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
