package dns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log"
	"net"
	"os"
	"sync"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/state"
)

const (
	// maxDatagram is the size of UDP messages that no network splits, in bytes.
	maxDatagram     = 1232
	shutdownTimeout = 2 * time.Second
)

// Handler answers from a zone file, and reads it anew when it was replaced.
type Handler struct {
	path string

	mu    sync.Mutex
	read  fs.FileInfo // of the file that table was made from, nil before the first
	table *Table
}

// NewHandler returns a handler for the Zone in a file, which need not be there
// yet: until it is, the answer is a server failure.
func NewHandler(path string) *Handler { return &Handler{path: path} }

func (h *Handler) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	table, err := h.current()
	if err != nil {
		log.Printf("zone file: %v", err)
	}
	reply := new(dns.Msg).SetRcode(request, dns.RcodeServerFailure)
	switch {
	case request.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case table != nil:
		reply = table.Answer(request)
	}
	size := dns.MaxMsgSize
	if _, datagram := w.RemoteAddr().(*net.UDPAddr); datagram {
		size = dns.MinMsgSize
	}
	if extension := request.IsEdns0(); extension != nil {
		reply.SetEdns0(maxDatagram, extension.Do())
		if size == dns.MinMsgSize {
			size = max(size, min(int(extension.UDPSize()), maxDatagram))
		}
	}
	reply.Truncate(size)
	if err := w.WriteMsg(reply); err != nil {
		log.Printf("answer %s: %v", w.RemoteAddr(), err)
	}
}

// current returns the table of the file as it is. When that cannot be read, it
// returns the table from before beside the error.
func (h *Handler) current() (*Table, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	info, err := os.Stat(h.path)
	if err != nil {
		return h.table, err
	}
	if h.read != nil && os.SameFile(h.read, info) && h.read.ModTime().Equal(info.ModTime()) && h.read.Size() == info.Size() {
		return h.table, nil
	}
	var zone Zone
	if err := state.ReadJSON(h.path, &zone); err != nil {
		return h.table, err
	}
	table, err := NewTable(zone, uint32(info.ModTime().Unix()))
	if err != nil {
		return h.table, err
	}
	h.read, h.table = info, table
	return table, nil
}

// Serve answers on a stream listener (TCP) and a packet listener (UDP) until
// the context ends or one of them fails. It closes both.
func Serve(ctx context.Context, handler dns.Handler, stream net.Listener, packets net.PacketConn) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, server := range []*dns.Server{
		{Listener: stream, Handler: handler},
		{PacketConn: packets, Handler: handler, UDPSize: maxDatagram},
	} {
		started, ended := make(chan struct{}), make(chan error, 1)
		server.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- server.ActivateAndServe() }()
		group.Go(func() error {
			var err error
			select {
			case err = <-ended:
			case <-started:
				select {
				case err = <-ended:
				case <-ctx.Done():
					closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
					defer cancel()
					// A connection that does not end in time is cut with the process.
					if err = server.ShutdownContext(closing); err == nil || errors.Is(err, context.DeadlineExceeded) {
						return nil
					}
				}
			}
			return fmt.Errorf("name server ended: %w", err)
		})
	}
	return group.Wait()
}
