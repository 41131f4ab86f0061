package stack

import (
	"slices"
	"strings"
)

// reservedLogins are the users and groups of a server: those of Debian 13 and its cloud image, of the installed
// packages and their dependencies, and of the program itself. useradd rejects the names of existing users and groups.
var reservedLogins = strings.Fields(`
	adm audio avahi backup bin cdrom chrony clock crontab daemon dhcpcd dialout dip disk dnsmasq docker fax
	floppy fwupd-refresh games gnats input irc kmem kvm landscape list lp lxd mail man messagebus netdev news
	nobody nogroup nvram operator pipewire plugdev polkitd pollinate proxy rdma render root rtkit sasl scanner
	sgx shadow src ssh sshd staff sudo sync syslog sys tape tcpdump tss tty users utmp uucp uuidd video voice
	wheel www-data
	bootstrap site-agent
	default
`)

// reservedLogin reports whether a name is, or may become, that of a system user or group. To cloud-init, "default"
// means the image's own user.
func reservedLogin(name string) bool {
	return slices.Contains(reservedLogins, name) || strings.HasPrefix(name, "systemd-") || strings.HasPrefix(name, "_")
}
