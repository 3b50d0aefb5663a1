import java.net.InetAddress;
import java.net.InetSocketAddress;
import org.eclipse.jetty.server.Server;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBRequestHandler;
import software.amazon.dynamodb.services.local.server.LocalDynamoDBServerHandler;

/** DynamoDB Local in memory, at a free port of 127.0.0.1 which it prints. Its own command listens to the whole network. */
class OnLoopback {
    public static void main(String[] none) throws Exception {
        var tables = new LocalDynamoDBRequestHandler(0, true, null, true, false);
        var server = new Server(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0));
        server.setHandler(new LocalDynamoDBServerHandler(tables, null));
        server.start();
        System.out.println(server.getURI().getPort());
    }
}
