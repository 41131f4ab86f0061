package registry

import (
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"immutable-infra/localcloud/internal/image"
)

// searchPath is PATH in Debian's images.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Image is an image that this machine built.
type Image struct {
	References []string // such as library/debian:trixie-slim
	// Layers are files: gzipped tar archives, the lowest first.
	Layers     []string
	Entrypoint []string
	Cmd        []string
}

// Images are those that the registry serves, from the files of their layers.
func Images(minbase, traefik string) []Image {
	return []Image{Debian(minbase), Traefik(minbase, traefik)}
}

// Debian is the minimal Debian image, from its root file system.
func Debian(rootFileSystem string) Image {
	return Image{
		References: []string{"library/debian:trixie-slim", "library/debian:13-slim"},
		Layers:     []string{rootFileSystem},
		Cmd:        []string{"bash"},
	}
}

// Traefik is an image with the upstream image's name, programs and start, from
// the layer that image.Traefik describes and the root file system below it.
func Traefik(rootFileSystem, traefik string) Image {
	return Image{
		References: []string{"library/traefik:" + image.TraefikVersion},
		Layers:     []string{rootFileSystem, traefik},
		Entrypoint: []string{"/entrypoint.sh"},
		Cmd:        []string{"traefik"},
	}
}

// build makes the image. layers are those that other images have read already, by their files.
func (i Image) build(layers map[string]v1.Layer) (v1.Image, error) {
	built := empty.Image
	for _, file := range i.Layers {
		if layers[file] == nil {
			layer, err := tarball.LayerFromFile(file)
			if err != nil {
				return nil, err
			}
			layers[file] = layer
		}
		var err error
		if built, err = mutate.AppendLayers(built, layers[file]); err != nil {
			return nil, err
		}
	}
	config, err := built.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.Architecture, config.OS = runtime.GOARCH, "linux"
	config.Config.Entrypoint, config.Config.Cmd = i.Entrypoint, i.Cmd
	config.Config.Env = []string{"PATH=" + searchPath}
	return mutate.ConfigFile(built, config)
}
