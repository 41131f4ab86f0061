package dns

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"immutable-infra/localcloud/internal/state"
)

const (
	maxDatagram = 1232            // bytes of a UDP message that no network fragments
	idleTimeout = 2 * time.Second // for TCP connections without a query
)

// Handler answers queries from a zone file, which it reads for each query.
type Handler struct {
	path     string
	lastGood atomic.Pointer[Table] // the table of the last valid file
}

// NewHandler returns a handler for the Zone in a file. While the file does not exist, the handler answers SERVFAIL.
func NewHandler(path string) *Handler { return &Handler{path: path} }

func (h *Handler) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	table := h.current()
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
		log.Printf("cannot send a reply to %s: %v", w.RemoteAddr(), err)
	}
}

// current returns the table of the file, or the last valid table if the file is unreadable, or nil if there is none.
func (h *Handler) current() *Table {
	table, err := readTable(h.path)
	if err != nil {
		log.Printf("cannot read the zone file: %v", err)
		return h.lastGood.Load()
	}
	h.lastGood.Store(table)
	return table
}

func readTable(path string) (*Table, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	var zone Zone
	if err := state.ReadJSON(path, &zone); err != nil {
		return nil, err
	}
	return NewTable(zone, uint32(info.ModTime().Unix()))
}

// Serve answers queries on a stream listener (TCP) and a packet connection (UDP) until ctx ends or a server fails.
// It closes both.
func Serve(ctx context.Context, handler dns.Handler, stream net.Listener, packets net.PacketConn) error {
	group, serving := errgroup.WithContext(ctx)
	context.AfterFunc(serving, func() { stream.Close(); packets.Close() })
	idle := func() time.Duration { return idleTimeout }
	for _, server := range []*dns.Server{
		{Listener: stream, Handler: handler, IdleTimeout: idle},
		{PacketConn: packets, Handler: handler, UDPSize: maxDatagram},
	} {
		group.Go(server.ActivateAndServe)
	}
	if err := group.Wait(); ctx.Err() == nil {
		return fmt.Errorf("name server failed: %w", err)
	}
	return nil
}
