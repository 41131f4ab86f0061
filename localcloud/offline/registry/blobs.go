package registry

import (
	"context"
	"io"
	"os"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// blobStore serves layers from the files that they are in, so that a large one
// is neither copied nor held in memory. What is pushed beside them is small.
type blobStore struct {
	pushed ggcr.BlobHandler
	files  map[v1.Hash]string
	layers map[string]v1.Layer // by file
}

func newBlobStore() *blobStore {
	return &blobStore{pushed: ggcr.NewInMemoryBlobHandler(), files: map[v1.Hash]string{}, layers: map[string]v1.Layer{}}
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
	if err != nil {
		return nil, err
	}
	b.files[digest], b.layers[file] = file, layer
	return layer, nil
}

// Get implements ggcr.BlobHandler.
func (b *blobStore) Get(ctx context.Context, repository string, hash v1.Hash) (io.ReadCloser, error) {
	if path, ok := b.files[hash]; ok {
		return os.Open(path)
	}
	return b.pushed.Get(ctx, repository, hash)
}

// Stat implements ggcr.BlobStatHandler.
func (b *blobStore) Stat(ctx context.Context, repository string, hash v1.Hash) (int64, error) {
	if path, ok := b.files[hash]; ok {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		return info.Size(), nil
	}
	if stat, ok := b.pushed.(ggcr.BlobStatHandler); ok {
		return stat.Stat(ctx, repository, hash)
	}
	return 0, ggcr.ErrNotFound
}

// Put implements ggcr.BlobPutHandler.
func (b *blobStore) Put(ctx context.Context, repository string, hash v1.Hash, content io.ReadCloser) error {
	return b.pushed.(ggcr.BlobPutHandler).Put(ctx, repository, hash, content)
}
