// Package image builds localcloud's root file systems with mmdebstrap and imports them into the Docker engine.
package image

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// Recipe describes the contents of a root file system.
type Recipe struct {
	Name     string
	Packages []string
	Files    []File   // added last
	Commands []string // run in the installed system, before the files are added
	Compress bool     // gzips the archive, for use as a registry's layer
}

// File is one file of a recipe or of a layer.
type File struct {
	Path    string // without the leading slash
	Content []byte
	// Source is a file on this machine with the content, instead of Content. Only layers use it.
	Source     string `json:"-"`
	Executable bool
}

// serverFiles contains files at their paths on a server. Scripts become executable.
//
//go:embed server
var serverFiles embed.FS

// Minbase is the equivalent of the image debian:trixie-slim. Like there, dpkg does not sync each file to disk, because
// an interrupted build leaves no image anyway, and apt downloads no translations and keeps no packages.
func Minbase() Recipe {
	return Recipe{
		Name: "minbase", Compress: true,
		Files: []File{
			{Path: "etc/dpkg/dpkg.cfg.d/docker-apt-speedup", Content: []byte("force-unsafe-io\n")},
			{Path: "etc/apt/apt.conf.d/docker-no-languages", Content: []byte("Acquire::Languages \"none\";\n")},
			{
				Path:    "etc/apt/apt.conf.d/docker-clean",
				Content: []byte("DPkg::Post-Invoke { \"rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin\"; };\n"),
			},
		},
	}
}

// Gateway is the root file system of the VPCs' gateways and of localcloud's services, such as the S3 server.
func Gateway() Recipe {
	return Recipe{Name: "gateway", Packages: []string{
		"ca-certificates", "conntrack", "dnsmasq-base", "iproute2", "nftables",
	}}
}

// Server is the AMI: Debian 13 with cloud-init, like Debian's official AMI.
func Server() (Recipe, error) {
	recipe := Recipe{
		Name: "server",
		Packages: []string{
			"systemd", "systemd-sysv", "dbus", "libpam-systemd", "udev", "kmod", "procps",
			"cloud-init", "iproute2", "iputils-ping",
			"openssh-server", "sudo", "ca-certificates", "curl", "less",
			// Part of Debian's AMI: servers must cope with them.
			"unattended-upgrades", "apparmor", "chrony", "systemd-resolved",
		},
		Commands: []string{
			"dpkg-divert --local --rename --add /usr/bin/systemd-detect-virt",
			"systemctl enable systemd-networkd.service",
			// These act on the host's hardware, or on its kernel as AppArmor's profiles do.
			"systemctl mask systemd-modules-load.service getty.target console-getty.service fstrim.timer " +
				"cloud-init-hotplugd.socket apparmor.service",
			// Every instance needs its own.
			"rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id",
			": > /etc/machine-id",
		},
	}
	err := fs.WalkDir(serverFiles, "server", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := serverFiles.ReadFile(path)
		file := File{Path: strings.TrimPrefix(path, "server/"), Content: content}
		file.Executable = bytes.HasPrefix(content, []byte("#!"))
		recipe.Files = append(recipe.Files, file)
		return err
	})
	return recipe, err
}

// Hash returns a short hash of a recipe's content.
func (r Recipe) Hash() (string, error) {
	return hashJSON(struct {
		Recipe
		Arguments []string
	}{r, r.arguments("", "", nil)})
}

// FileName returns the name of the recipe's archive in the cache.
func (r Recipe) FileName() (string, error) {
	hash, err := r.Hash()
	if err != nil {
		return "", err
	}
	return r.Name + "-" + hash + map[bool]string{false: ".tar", true: ".tar.gz"}[r.Compress], nil
}

// arguments returns mmdebstrap's arguments for writing the archive to target. overlay is a tar archive of the
// recipe's files, and sources are apt's sources.
func (r Recipe) arguments(target, overlay string, sources []string) []string {
	args := []string{
		"--variant=minbase", "--quiet",
		"--dpkgopt=path-exclude=/usr/share/man/*",
		"--dpkgopt=path-exclude=/usr/share/doc/*",
		"--dpkgopt=path-include=/usr/share/doc/*/copyright",
		"--dpkgopt=path-exclude=/usr/share/locale/*",
	}
	if len(r.Packages) > 0 {
		args = append(args, "--include="+strings.Join(r.Packages, ","))
	}
	for _, command := range r.Commands {
		args = append(args, fmt.Sprintf(`--customize-hook=chroot "$1" sh -c '%s'`, command))
	}
	if len(r.Files) > 0 {
		args = append(args, "--customize-hook=tar-in "+overlay+" /")
	}
	return append(append(args, suite, target), sources...)
}
