package registry

import (
	"context"
	"io"
	"os"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// pushed is what the library's store in memory implements.
type pushed interface {
	ggcr.BlobHandler
	ggcr.BlobStatHandler
	ggcr.BlobPutHandler
}

// blobStore serves layers from the files that they are in, so that a large one
// is neither copied nor held in memory. What is pushed beside them is small.
type blobStore struct {
	pushed
	files  map[v1.Hash]string
	layers map[string]v1.Layer // by file
}

func newBlobStore() *blobStore {
	return &blobStore{ggcr.NewInMemoryBlobHandler().(pushed), map[v1.Hash]string{}, map[string]v1.Layer{}}
}

// layer adds the layer in a file, once, which reads all of it.
func (b *blobStore) layer(file string) (v1.Layer, error) {
	if layer, ok := b.layers[file]; ok {
		return layer, nil
	}
	layer, err := tarball.LayerFromFile(file)
	if err != nil {
		return nil, err
	}
	digest, err := layer.Digest()
	b.files[digest], b.layers[file] = file, layer
	return layer, err
}

func (b *blobStore) Get(ctx context.Context, repository string, hash v1.Hash) (io.ReadCloser, error) {
	if path, ok := b.files[hash]; ok {
		return os.Open(path)
	}
	return b.pushed.Get(ctx, repository, hash)
}

func (b *blobStore) Stat(ctx context.Context, repository string, hash v1.Hash) (int64, error) {
	path, ok := b.files[hash]
	if !ok {
		return b.pushed.Stat(ctx, repository, hash)
	}
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
