// An upload pipeline's side of hashmatch.v1.MatchService.
//
//	main match FILE…     one request each, judged before anybody can see the file
//	main stream FILE…    many over one stream, at most `window` of them unanswered
//	main upload FILE…    one large file each, in chunks
//
// Exit code: 0 nothing matched, 1 something matched, 3 something is unknown or was not judged.
//
// The generated package is example.com/hashmatch-example/gen/hashmatchv1. The protos name no Go package, so the
// command does, run here; $include is a directory that holds google/rpc/status.proto:
//
//	package=example.com/hashmatch-example/gen/hashmatchv1
//	mapped=Mhashmatch/v1/common.proto=$package,Mhashmatch/v1/match.proto=$package
//	protoc -I ../../../proto -I "$include" \
//	    --go_out=. --go_opt=module=example.com/hashmatch-example,$mapped \
//	    --go-grpc_out=. --go-grpc_opt=module=example.com/hashmatch-example,$mapped \
//	    hashmatch/v1/common.proto hashmatch/v1/match.proto
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	mathrand "math/rand"
	"os"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/local"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "example.com/hashmatch-example/gen/hashmatchv1"
)

const (
	deadline = 30 * time.Second // for one item, retries included; the server answers within 5 s
	window   = 8                // unanswered requests in a stream: as much media as this is held at both ends
	chunk    = 256 << 10        // bytes
)

// A lost connection is retried by gRPC itself (as is safe: a request_id is judged once; before 1.40 only with
// GRPC_GO_RETRY=on); overload is retried below, since only the server knows when there will be room. Several servers
// behind one name take turns.
const serviceConfig = `{
  "loadBalancingConfig": [{"round_robin": {}}],
  "methodConfig": [{
    "name": [{"service": "hashmatch.v1.MatchService"}],
    "retryPolicy": {
      "maxAttempts": 5, "initialBackoff": "0.1s", "maxBackoff": "2s", "backoffMultiplier": 2,
      "retryableStatusCodes": ["UNAVAILABLE"]
    }
  }]
}`

var exitCode = 0

// connect: TLS where HASHMATCH_CA names a PEM file; else plain text, which `local` refuses to speak beyond loopback.
func connect(address string) (*grpc.ClientConn, error) {
	transport := local.NewCredentials()
	if ca := os.Getenv("HASHMATCH_CA"); ca != "" {
		var err error
		if transport, err = credentials.NewClientTLSFromFile(ca, ""); err != nil {
			return nil, err
		}
	}
	// Dial is deprecated since 1.63, where NewClient does the same; it works in every 1.x, old and new.
	return grpc.Dial("dns:///"+address, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultServiceConfig(serviceConfig))
}

// authorized adds the bearer key, where there is one, to what every call sends. It is never logged.
func authorized(ctx context.Context) (context.Context, error) {
	path := os.Getenv("HASHMATCH_KEY_FILE")
	if path == "" {
		return ctx, nil
	}
	key, err := os.ReadFile(path)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(key))), err
}

// pause: how long until to ask again: what the server advises, else twice as long each time; never in step.
func pause(refused *status.Status, attempt int) time.Duration {
	wait := 100 * time.Millisecond << attempt
	for _, detail := range refused.Details() {
		if advice, ok := detail.(*errdetails.RetryInfo); ok {
			delay := advice.GetRetryDelay()
			wait = time.Duration(delay.GetSeconds())*time.Second + time.Duration(delay.GetNanos())
		}
	}
	return wait + time.Duration(mathrand.Int63n(int64(wait/2)+1))
}

// judged: the answer of ask, asked again while the server is overloaded or away. Every other error comes back.
func judged(ctx context.Context, ask func(context.Context) (*pb.MatchResponse, error)) (*pb.MatchResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	for attempt := 0; ; attempt++ {
		answer, err := ask(ctx)
		refused := status.Convert(err)
		if refused.Code() != codes.ResourceExhausted && refused.Code() != codes.Unavailable {
			return answer, err
		}
		wait := pause(refused, attempt)
		if until, _ := ctx.Deadline(); time.Now().Add(wait).After(until) {
			return nil, err // a day's budget comes back at midnight, for one
		}
		time.Sleep(wait)
	}
}

// match asks about one item in one message.
func match(ctx context.Context, client pb.MatchServiceClient, path, id string) (*pb.MatchResponse, error) {
	request, err := question(path, id)
	if err != nil {
		return nil, err
	}
	return judged(ctx, func(ctx context.Context) (*pb.MatchResponse, error) { return client.Match(ctx, request) })
}

func question(path, id string) (*pb.MatchRequest, error) {
	media, err := os.ReadFile(path)
	return &pb.MatchRequest{RequestId: id, Input: &pb.MatchRequest_Media{Media: media}, Subject: subject(path)}, err
}

func subject(path string) *pb.Subject { return &pb.Subject{ContentId: path} }

// upload asks about one large file: a header with everything but the media, then the media, never whole in memory.
func upload(ctx context.Context, client pb.MatchServiceClient, path, id string) (*pb.MatchResponse, error) {
	return judged(ctx, func(ctx context.Context) (*pb.MatchResponse, error) {
		ctx, cancel := context.WithCancel(ctx) // ends the call where the file cannot be read to its end
		defer cancel()
		file, err := os.Open(path) // anew for every attempt
		if err != nil {
			return nil, err
		}
		defer file.Close()
		call, err := client.MatchUpload(ctx)
		if err != nil {
			return nil, err
		}
		header := &pb.MatchRequest{RequestId: id, Subject: subject(path)}
		part := &pb.MatchUploadRequest{Part: &pb.MatchUploadRequest_Header{Header: header}}
		for {
			if err := call.Send(part); err != nil {
				break // the server ended the call: CloseAndRecv says why
			}
			buffer := make([]byte, chunk)
			n, err := io.ReadFull(file, buffer)
			if n == 0 && err == io.EOF {
				break
			} else if err != nil && err != io.ErrUnexpectedEOF {
				return nil, err
			}
			part = &pb.MatchUploadRequest{Part: &pb.MatchUploadRequest_Chunk{Chunk: buffer[:n]}}
		}
		return call.CloseAndRecv()
	})
}

// stream asks about many over one stream: answers come as they are ready, each by its request id. What gets none, by
// an overload or by the end of the stream, is asked about singly under the same id, and so judged once.
func stream(ctx context.Context, client pb.MatchServiceClient, paths []string) {
	streaming, cancel := context.WithTimeout(ctx, deadline+time.Duration(len(paths))*time.Second)
	defer cancel()
	unanswered := map[string]string{} // request id → path, of what has no verdict
	call, err := client.MatchStream(streaming)
	next, flying := 0, 0
	for err == nil {
		for ; next < len(paths) && flying < window; next++ {
			id := newID()
			unanswered[id] = paths[next]
			if request, unread := question(paths[next], id); unread == nil {
				flying++
				_ = call.Send(request) // Recv says why where it fails
			}
		}
		if next == len(paths) {
			_ = call.CloseSend()
		}
		var answer *pb.MatchStreamResponse
		if answer, err = call.Recv(); err != nil {
			break
		}
		flying--
		id := answer.GetRequestId()
		if response := answer.GetResponse(); response != nil {
			act(unanswered[id], response)
			delete(unanswered, id)
		} else if code := codes.Code(answer.GetError().GetCode()); code != codes.ResourceExhausted && code != codes.Unavailable {
			hold(unanswered[id], id, status.FromProto(answer.GetError()).Err())
			delete(unanswered, id)
		}
	}
	if err != io.EOF {
		fmt.Fprintln(os.Stderr, "the stream ended early:", err)
	}
	for ; next < len(paths); next++ {
		unanswered[newID()] = paths[next]
	}
	for id, path := range unanswered {
		attempt(ctx, client, path, id, match)
	}
}

// act does what policy asks for. In earnest this moves the upload; UNKNOWN never means NO_MATCH.
func act(path string, answer *pb.MatchResponse) {
	fmt.Println(path, answer.GetRequestId(), answer.GetFinding(), answer.GetDisposition())
	switch answer.GetFinding() {
	case pb.Finding_FINDING_MATCH:
		exitCode = 1
		for _, m := range answer.GetMatches() {
			fmt.Printf("  %s %q %s %d\n", m.GetList(), m.GetLabel(), m.GetHashType(), m.GetDistance())
		}
	case pb.Finding_FINDING_NO_MATCH:
	default: // held, until a person or a later try decides
		held()
		for _, h := range answer.GetHashed() {
			if h.GetUnhashable() != pb.UnhashableReason_UNHASHABLE_REASON_UNSPECIFIED {
				fmt.Println(" ", h.GetHashType(), h.GetUnhashable())
			}
		}
	}
}

// hold: every error means "not judged"; the upload is held, and asked about again later under the same request id.
func hold(path, id string, why error) {
	fmt.Println(path, id, "NOT_JUDGED", why)
	held()
}

func held() {
	if exitCode == 0 {
		exitCode = 3
	}
}

type asker func(ctx context.Context, client pb.MatchServiceClient, path, id string) (*pb.MatchResponse, error)

func attempt(ctx context.Context, client pb.MatchServiceClient, path, id string, how asker) {
	if answer, err := how(ctx, client, path, id); err != nil {
		hold(path, id, err)
	} else {
		act(path, answer)
	}
}

// newID: a request id is yours for one upload: made once, stored with it, the same on every retry. Never a hash of the
// media.
func newID() string {
	random := make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		panic(err)
	}
	return hex.EncodeToString(random)
}

func main() {
	address := os.Getenv("HASHMATCH_SERVER")
	if address == "" {
		address = "127.0.0.1:50051"
	}
	if len(os.Args) < 3 {
		os.Args = []string{"main", "", ""}
	}
	how, known := map[string]asker{"match": match, "upload": upload, "stream": nil}[os.Args[1]]
	conn, err := connect(address)
	ctx, unread := authorized(context.Background())
	if !known || err != nil || unread != nil {
		fmt.Fprintln(os.Stderr, "usage: main match|stream|upload FILE…", err, unread)
		os.Exit(64)
	}
	client := pb.NewMatchServiceClient(conn)
	if how == nil {
		stream(ctx, client, os.Args[2:])
	} else {
		for _, path := range os.Args[2:] {
			attempt(ctx, client, path, newID(), how)
		}
	}
	_ = conn.Close()
	os.Exit(exitCode)
}
