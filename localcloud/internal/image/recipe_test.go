package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestChangedRecipeIsRebuilt(t *testing.T) {
	before, err := Server()
	require.NoError(t, err)
	name, err := before.FileName()
	require.NoError(t, err)
	again, err := before.FileName()
	require.NoError(t, err)
	require.Equal(t, name, again)

	after, err := Server()
	require.NoError(t, err)
	after.Files[0].Content = append(after.Files[0].Content, '\n')
	changed, err := after.FileName()
	require.NoError(t, err)
	require.NotEqual(t, name, changed)
}

func TestServerOverlayLetsCloudInitDetectEC2(t *testing.T) {
	recipe, err := Server()
	require.NoError(t, err)
	var overlay bytes.Buffer
	require.NoError(t, writeArchive(t.Context(), &overlay, recipe.Files))
	modes := map[string]int64{}
	archive := tar.NewReader(&overlay)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		modes[header.Name] = header.Mode
	}
	require.Equal(t, map[string]int64{
		"usr/bin/systemd-detect-virt":                0o755,
		"usr/sbin/dmidecode":                         0o755,
		"usr/sbin/localcloud-init":                   0o755,
		"usr/lib/systemd/system-shutdown/localcloud": 0o755,
		"etc/cloud/cloud.cfg.d/90_localcloud.cfg":    0o644,
		"etc/default/chrony":                         0o644,
	}, modes)
}

func TestImagesUseMirrorsOfHost(t *testing.T) {
	require.Equal(t, []string{
		"deb http://mirror.example/debian trixie main",
		"deb http://mirror.example/debian trixie-updates main",
		"deb http://mirror.example/debian-security trixie-security main",
	}, parseSources([]byte(`bookworm http://mirror.example/debian
bookworm-updates http://mirror.example/debian
bookworm-backports http://mirror.example/debian
bookworm-security http://mirror.example/debian-security
bookworm http://mirror.example/debian
stable https://packages.example/apt
tool-bookworm https://packages.example/tool
`), "bookworm"))
}

func TestMirrorsOfOtherDistributionsAreIgnored(t *testing.T) {
	require.Equal(t, "bookworm",
		debianCodename([]byte("NAME=\"Debian GNU/Linux\"\nVERSION_CODENAME=bookworm\nID=debian\n")))
	require.Empty(t, debianCodename([]byte("ID=ubuntu\nVERSION_CODENAME=noble\n")))
	require.Empty(t, debianCodename([]byte("ID=debian\n")), "Debian unstable has no codename")
}
