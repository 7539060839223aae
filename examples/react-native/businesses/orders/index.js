import { AppRegistry } from "react-native";
import { Orders } from "./Orders";

AppRegistry.registerComponent("orders", () => Orders);
