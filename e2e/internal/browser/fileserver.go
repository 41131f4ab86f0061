package browser

import (
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// FileServer serves a built site as plain static hosts do, without custom headers: /about is the file about;
// otherwise, it redirects to /about/ if that is a directory with an index.html; otherwise, it is about.html. For a
// missing file, the server sends 404.html with the status 404.
func FileServer(dir string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := path.Clean("/" + r.URL.Path)
		file := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case isFile(file) && !strings.HasSuffix(r.URL.Path, "/") && !hidden(name):
			serveFile(w, r, file, http.StatusOK)
		case isFile(filepath.Join(file, "index.html")):
			if !strings.HasSuffix(r.URL.Path, "/") {
				target := *r.URL
				target.Path += "/"
				target.RawPath = ""
				http.Redirect(w, r, target.String(), http.StatusMovedPermanently)
				return
			}
			serveFile(w, r, filepath.Join(file, "index.html"), http.StatusOK)
		case isFile(file + ".html"):
			serveFile(w, r, file+".html", http.StatusOK)
		case isFile(filepath.Join(dir, "404.html")):
			serveFile(w, r, filepath.Join(dir, "404.html"), http.StatusNotFound)
		default:
			http.NotFound(w, r)
		}
	})
}

// hidden reports whether a file is not for visitors.
func hidden(name string) bool {
	return name == "/_headers" || name == "/_redirects" || strings.HasSuffix(name, ".php")
}

func isFile(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.Mode().IsRegular()
}

func serveFile(w http.ResponseWriter, r *http.Request, name string, status int) {
	file, err := os.Open(name)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = file.Close() }()
	if kind := kindOf(name); kind != "" {
		w.Header().Set("Content-Type", kind)
	}
	if status != http.StatusOK {
		w.WriteHeader(status)
		_, _ = io.Copy(w, file) // the visitor may have left
		return
	}
	info, err := file.Stat()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	http.ServeContent(w, r, name, info.ModTime(), file)
}

// kindOf returns the media type of a file by its extension, or "".
func kindOf(name string) string {
	switch extension := filepath.Ext(name); extension {
	case ".webmanifest":
		return "application/manifest+json"
	case ".vtt":
		return "text/vtt; charset=utf-8"
	case ".webm":
		return "video/webm"
	case ".wav":
		return "audio/wav"
	case ".woff2":
		return "font/woff2"
	default:
		return mime.TypeByExtension(extension)
	}
}
