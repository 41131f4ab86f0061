package stack

import (
	"slices"
	"strings"
)

// reservedLogins are the users and groups of a server: those of Debian 13 and its cloud image, of
// the packages that the program installs and what they depend on, and of the program itself. useradd
// refuses the name of a user and that of a group.
var reservedLogins = strings.Fields(`
	adm audio avahi backup bin cdrom chrony clock crontab daemon dhcpcd dialout dip disk dnsmasq docker fax
	floppy fwupd-refresh games gnats input irc kmem kvm landscape list lp lxd mail man messagebus netdev news
	nobody nogroup nvram operator pipewire plugdev polkitd pollinate proxy rdma render root rtkit sasl scanner
	sgx shadow src ssh sshd staff sudo sync syslog sys tape tcpdump tss tty users utmp uucp uuidd video voice
	wheel www-data
	bootstrap site-agent
	default
`)

// reservedLogin reports whether a name is, or may come to be, that of a user or group of the system.
// cloud-init takes "default" for the image's own user.
func reservedLogin(name string) bool {
	return slices.Contains(reservedLogins, name) || strings.HasPrefix(name, "systemd-") || strings.HasPrefix(name, "_")
}
