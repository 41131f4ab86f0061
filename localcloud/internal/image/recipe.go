// Package image builds the root file systems of localcloud with mmdebstrap and
// gives them to the Docker engine.
package image

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"strings"
)

// Recipe says what a root file system is made of.
type Recipe struct {
	Name     string
	Packages []string
	Files    []File   // added at the end
	Commands []string // run in the finished system, before the files are added
	Compress bool     // makes the archive a gzip, for a registry's layer
}

// File is one file of a recipe or of a layer.
type File struct {
	Path    string // without the leading slash
	Content []byte
	// Source is a file of this machine that has the content instead. Only layers have such.
	Source     string `json:"-"`
	Executable bool
}

// serverFiles are below the paths that they have on a server. Scripts become executable.
//
//go:embed server
var serverFiles embed.FS

// Minbase is Debian 13 as the image debian:trixie-slim, whose dpkg does not wait for
// the disk after each file either: a build that breaks off leaves no image anyway.
func Minbase() Recipe {
	return Recipe{
		Name: "minbase", Compress: true,
		Files: []File{{Path: "etc/dpkg/dpkg.cfg.d/docker-apt-speedup", Content: []byte("force-unsafe-io\n")}},
	}
}

// Gateway is what the gateway of a VPC, the S3 server and the registry run in.
func Gateway() Recipe {
	return Recipe{Name: "gateway", Packages: []string{
		"ca-certificates", "conntrack", "dnsmasq-base", "iproute2", "nftables",
	}}
}

// Server is the AMI: Debian 13 with cloud-init, as Debian's official one.
func Server() (Recipe, error) {
	recipe := Recipe{
		Name: "server",
		Packages: []string{
			"systemd", "systemd-sysv", "dbus", "libpam-systemd", "udev", "kmod", "procps",
			"cloud-init", "iproute2", "iputils-ping",
			"openssh-server", "sudo", "ca-certificates", "curl", "less",
			// What Debian's image brings and a server has to get along with.
			"unattended-upgrades", "apparmor", "chrony", "systemd-resolved",
		},
		Commands: []string{
			"dpkg-divert --local --rename --add /usr/bin/systemd-detect-virt",
			"systemctl enable systemd-networkd.service",
			// They act on hardware that the host owns, as the profiles of apparmor do on its kernel.
			"systemctl mask systemd-modules-load.service getty.target console-getty.service fstrim.timer " +
				"cloud-init-hotplugd.socket apparmor.service",
			// Every instance makes or is given its own.
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

// Hash names a recipe's content.
func (r Recipe) Hash() (string, error) {
	return hashJSON(struct {
		Recipe
		Arguments []string
	}{r, r.arguments("", "", nil)})
}

// FileName is the name of the recipe's archive in the cache.
func (r Recipe) FileName() (string, error) {
	hash, err := r.Hash()
	if err != nil {
		return "", err
	}
	return r.Name + "-" + hash + map[bool]string{false: ".tar", true: ".tar.gz"}[r.Compress], nil
}

// arguments is the command line of mmdebstrap that writes the archive to
// target. overlay is a tar archive of the recipe's files, sources are apt's.
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
